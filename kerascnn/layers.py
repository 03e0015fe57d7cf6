"""The few layers that Keras lacks."""

import functools
import math

import keras


def _check_rate(rate):
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be 0 or more, and less than 1, not {rate!r}")
    return rate


@keras.saving.register_keras_serializable(package="kerascnn")
class DropPath(keras.layers.Layer):
    """Stochastic depth (https://arxiv.org/abs/1603.09382): while training, zeroes whole images of a batch.

    Each image is dropped with probability `rate`, and those that stay are divided by 1 - rate, so that the expected
    value is the input. At test time the layer does nothing. Any shape, images first.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.rate = _check_rate(rate)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        one_per_image = (None,) + (1,) * (len(inputs.shape) - 1)
        return keras.random.dropout(inputs, self.rate, noise_shape=one_per_image, seed=self.seed_generator)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(package="kerascnn")
class DropBlock(keras.layers.Layer):
    """DropBlock (https://arxiv.org/abs/1810.12890): while training, zeroes squares of a feature map.

    Takes (batch, height, width, channels). Squares of `block_size` pixels a side, in each channel for itself, together
    cover about `rate` of the map; what stays is scaled by the share that stays. A map that is smaller than a square has
    squares of its own size. At test time the layer does nothing.
    """

    def __init__(self, rate, block_size=7, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.rate = _check_rate(rate)
        self.block_size = block_size
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def build(self, input_shape):
        if None in input_shape[1:3]:
            raise ValueError("DropBlock needs a fixed image size: give input_shape=(height, width, channels)")

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        _, height, width, _ = inputs.shape
        side = min(self.block_size, height, width)
        # Centres are drawn where the whole square fits, and with the density that lets the squares cover `rate`.
        inside = (height - side + 1, width - side + 1)
        density = self.rate * height * width / side**2 / (inside[0] * inside[1])
        shape = keras.ops.shape(inputs)
        draws = keras.random.uniform((shape[0], *inside, shape[3]), seed=self.seed_generator)
        corners = keras.ops.cast(draws < density, self.compute_dtype)
        grow = side - 1
        corners = keras.ops.pad(corners, ((0, 0), (grow, grow), (grow, grow), (0, 0)))
        keep = 1 - keras.ops.max_pool(corners, side, strides=1, padding="valid")
        total, kept = height * width, keras.ops.sum(keras.ops.cast(keep, "float32"), (1, 2), keepdims=True)
        return inputs * keep * keras.ops.cast(total / keras.ops.maximum(kept, 1), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "block_size": self.block_size, "seed": self.seed}


@keras.saving.register_keras_serializable(package="kerascnn")
class DropConnectDense(keras.layers.Dense):
    """A fully connected layer with DropConnect (Wan et al., 2013, https://proceedings.mlr.press/v28/wan13.html).

    While training, each weight of the kernel is zeroed with probability `rate`, and the others are divided by
    1 - rate. One draw serves the whole batch, where the paper draws for each image: a mask for each would need as
    much memory as the batch has copies of the kernel. At test time it is a Dense layer, where the paper samples.
    """

    def __init__(self, units, rate, seed=None, **kwargs):
        super().__init__(units, **kwargs)
        self.rate = _check_rate(rate)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return super().call(inputs)
        kernel = keras.ops.convert_to_tensor(self.kernel)
        kernel = keras.random.dropout(kernel, self.rate, seed=self.seed_generator)
        x = keras.ops.matmul(inputs, keras.ops.cast(kernel, self.compute_dtype))
        if self.bias is not None:
            x = x + keras.ops.cast(self.bias, self.compute_dtype)
        return x if self.activation is None else self.activation(x)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(package="kerascnn")
class FractionalMaxPooling2D(keras.layers.Layer):
    """Fractional max pooling (https://arxiv.org/abs/1412.6071): shrinks a map by a ratio between 1 and 2.

    Takes (batch, height, width, channels) and gives height and width divided by `ratio`, rounded down. The windows,
    `size` pixels a side, start at the paper's pseudorandom sequence, which every training step draws anew, for the
    whole batch; at test time the sequence is always the same. Needs a fixed image size.
    """

    def __init__(self, ratio, size=2, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 1 <= ratio < 2:
            raise ValueError(f"ratio must be 1 or more, and less than 2, not {ratio!r}")
        self.ratio = ratio
        self.size = size
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        x = inputs
        for axis in (1, 2):
            offset = keras.random.uniform((), seed=self.seed_generator) if training else 0.5
            starts = self._starts(x.shape[axis], offset)
            last = x.shape[axis] - 1
            rows = [keras.ops.take(x, keras.ops.minimum(starts + i, last), axis) for i in range(self.size)]
            x = rows[0]
            for row in rows[1:]:
                x = keras.ops.maximum(x, row)
        return x

    def _starts(self, side, offset):
        # a(i) = floor(ratio * (i + u)) - floor(ratio * u): steps of one or two pixels, which begin at the first. The
        # ratio is that of the whole numbers, so that the last window ends at the border.
        count = self._shrunk(side)
        if count < 2:
            return keras.ops.zeros((count,), "int32")
        ratio = (side - self.size) / (count - 1) if side > self.size else 0.0
        steps = keras.ops.floor(ratio * (keras.ops.arange(count, dtype="float32") + offset))
        starts = keras.ops.cast(steps - keras.ops.floor(ratio * offset), "int32")
        return keras.ops.clip(starts, 0, max(side - self.size, 0))

    def _shrunk(self, side):
        if side is None:
            raise ValueError("fractional pooling needs a fixed image size: give input_shape=(height, width, channels)")
        return max(int(side / self.ratio), 1)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, self._shrunk(height), self._shrunk(width), channels)

    def get_config(self):
        return {**super().get_config(), "ratio": self.ratio, "size": self.size, "seed": self.seed}


@keras.saving.register_keras_serializable(package="kerascnn")
class Maxout(keras.layers.Layer):
    """Maxout (https://arxiv.org/abs/1302.4389): the larger of each two neighbouring channels, so half as many."""

    def call(self, inputs):
        return keras.ops.maximum(inputs[..., 0::2], inputs[..., 1::2])

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // 2)


@keras.saving.register_keras_serializable(package="kerascnn")
class ChannelShuffle(keras.layers.Layer):
    """Deals the channels out: the first of each of `groups` equal groups, then the second of each, and so on."""

    def __init__(self, groups, **kwargs):
        super().__init__(**kwargs)
        self.groups = groups

    def call(self, inputs):
        batch, height, width, channels = (
            known or size for known, size in zip(inputs.shape, keras.ops.shape(inputs), strict=True)
        )
        x = keras.ops.reshape(inputs, (batch, height, width, self.groups, channels // self.groups))
        return keras.ops.reshape(keras.ops.swapaxes(x, 3, 4), (batch, height, width, channels))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "groups": self.groups}


@keras.saving.register_keras_serializable(package="kerascnn")
class EfficientChannelAttention(keras.layers.Layer):
    """Weighs each channel by its own mean and those of its neighbours (ECA-Net, https://arxiv.org/abs/1910.03151).

    Takes (batch, height, width, channels). The weights are one filter of `size` taps, which slides over the channels'
    means; a sigmoid makes gates of the sums. Published counts of multiply-accumulates leave the filter out.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def build(self, input_shape):
        self.kernel = self.add_weight((self.size,), "glorot_uniform", name="kernel")

    def call(self, inputs):
        means = keras.ops.mean(inputs, (1, 2))[..., None]
        kernel = keras.ops.cast(self.kernel, self.compute_dtype)[:, None, None]
        gates = keras.ops.sigmoid(keras.ops.conv(means, kernel, padding="same"))[..., 0]
        return inputs * gates[:, None, None]

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable(package="kerascnn")
class LayerScale(keras.layers.Layer):
    """Multiplies each channel by a number that is learned (https://arxiv.org/abs/2103.17239), `start` at first.

    Any shape, channels last.
    """

    def __init__(self, start=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.start = start
        self.supports_masking = True

    def build(self, input_shape):
        self.scale = self.add_weight((input_shape[-1],), keras.initializers.Constant(self.start), name="scale")

    def call(self, inputs):
        return inputs * keras.ops.cast(self.scale, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "start": self.start}


@keras.saving.register_keras_serializable(package="kerascnn")
class GlobalResponseNormalization(keras.layers.Layer):
    """Global response normalisation (ConvNeXt V2, https://arxiv.org/abs/2301.00808): lets channels compete.

    Takes (batch, height, width, channels). A channel is weighed by its norm over the map, divided by the mean of all
    channels' norms; `gamma` scales the result, `beta` shifts it, both from zero on, and the input is added.
    """

    def __init__(self, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        self.gamma = self.add_weight((input_shape[-1],), "zeros", name="gamma")
        self.beta = self.add_weight((input_shape[-1],), "zeros", name="beta")

    def call(self, inputs):
        wide = keras.backend.result_type(inputs.dtype, "float32")  # squares overflow in float16
        x = keras.ops.cast(inputs, wide)
        # The root has no gradient at 0, where a channel is silent.
        squares = keras.ops.maximum(keras.ops.sum(keras.ops.square(x), (1, 2), keepdims=True), 1e-20)
        norms = keras.ops.sqrt(squares)
        weights = norms / (keras.ops.mean(norms, -1, keepdims=True) + self.epsilon)
        gamma, beta = (keras.ops.cast(weight, wide) for weight in (self.gamma, self.beta))
        return keras.ops.cast(x + gamma * (x * weights) + beta, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="kerascnn")
class StandardizedConv2D(keras.layers.Conv2D):
    """A convolution whose kernel is standardised first: each filter has mean 0 and variance 1.

    Weight standardisation (https://arxiv.org/abs/1903.10520) as it stands; with `gamma` scaled weight standardisation
    (https://arxiv.org/abs/2101.08692), where each filter is then multiplied by gamma, divided by the root of its size,
    and by a weight `gain` of its own, which starts at `gain_initializer`. `epsilon` is added to the variance. The
    kernel is standardised in float32 also under mixed precision.
    """

    def __init__(self, filters, kernel_size, *args, epsilon=1e-8, gamma=None, gain_initializer="ones", **kwargs):
        super().__init__(filters, kernel_size, *args, **{**kwargs, "autocast": False})
        self.epsilon = epsilon
        self.gamma = gamma
        self.gain_initializer = keras.initializers.get(gain_initializer)
        self.gain = None

    def build(self, input_shape):
        super().build(input_shape)
        if self.gamma is not None:
            self.gain = self.add_weight((self.filters,), self.gain_initializer, name="gain")

    def standardized(self):
        """The kernel that convolves, in the type of the weights."""
        kernel = keras.ops.convert_to_tensor(self.kernel)
        mean, variance = keras.ops.moments(kernel, (0, 1, 2), keepdims=True)
        kernel = (kernel - mean) * keras.ops.rsqrt(variance + self.epsilon)
        if self.gain is None:
            return kernel
        return kernel * (self.gain * (self.gamma * math.prod(self.kernel.shape[:3]) ** -0.5))

    def call(self, inputs):
        kernel = keras.ops.cast(self.standardized(), self.compute_dtype)
        x = self.convolution_op(keras.ops.cast(inputs, self.compute_dtype), kernel)
        if self.bias is not None:
            x = x + keras.ops.cast(self.bias, self.compute_dtype)
        return x if self.activation is None else self.activation(x)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        if self.gain is not None:
            store["gain"] = self.gain

    def load_own_variables(self, store):
        super().load_own_variables(store)
        if self.gain is not None:
            self.gain.assign(store["gain"])

    def plain_config(self):
        """The config of the Conv2D that computes the same with `standardized()` as its kernel."""
        own = set(self.get_config()) - set(super().get_config())
        return {key: value for key, value in self.get_config().items() if key not in own}

    def get_config(self):
        gain = keras.initializers.serialize(self.gain_initializer)
        return {**super().get_config(), "epsilon": self.epsilon, "gamma": self.gamma, "gain_initializer": gain}


@keras.saving.register_keras_serializable(package="kerascnn")
class LocalResponseNormalization(keras.layers.Layer):
    """Local response normalisation, as in AlexNet (Krizhevsky, Sutskever and Hinton, 2012, section 3.3).

    Divides each channel by (bias + alpha * s) ** beta, where s is the sum of the squares of the `size` channels around
    it, its own among them; beyond the first and the last there are none. Any shape, channels last. PyTorch and Caffe
    take the mean of the squares for their sum, so that their alpha is `size` times ours.
    """

    def __init__(self, size=5, alpha=1e-4, beta=0.75, bias=2.0, **kwargs):
        super().__init__(**kwargs)
        if size < 1 or size % 2 == 0:
            raise ValueError(f"size must be odd and 1 or more, not {size!r}")
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.bias = bias
        self.supports_masking = True

    def call(self, inputs):
        wide = keras.backend.result_type(inputs.dtype, "float32")  # squares overflow in float16
        squares = keras.ops.square(keras.ops.cast(inputs, wide))
        channels, margin = inputs.shape[-1], self.size // 2
        squares = keras.ops.pad(squares, [(0, 0)] * (len(inputs.shape) - 1) + [(margin, margin)])
        total = squares[..., :channels]
        for i in range(1, self.size):
            total = total + squares[..., i : i + channels]
        scale = keras.ops.power(self.bias + self.alpha * total, -self.beta)
        return inputs * keras.ops.cast(scale, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = {"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": self.bias}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable(package="kerascnn")
class AdaptiveAveragePooling2D(keras.layers.AdaptiveAveragePooling2D):
    """As Keras's and PyTorch's: averages a map, or repeats it, to a given height and width.

    Keras 3.15.1's own gives NaN for 7x7 on JAX. Needs a fixed image size.
    """

    def call(self, inputs):
        x = keras.ops.einsum("oh,bhwc->bowc", self._windows(inputs.shape[1], self.output_size[0]), inputs)
        return keras.ops.einsum("ow,bhwc->bhoc", self._windows(inputs.shape[2], self.output_size[1]), x)

    def _windows(self, side, count):
        """What each of `count` outputs takes of each of `side` inputs, in PyTorch's windows."""
        rows = []
        for i in range(count):
            start, end = i * side // count, -(-(i + 1) * side // count)
            rows.append([1 / (end - start) if start <= j < end else 0.0 for j in range(side)])
        return keras.ops.convert_to_tensor(rows, self.compute_dtype)


def _cubic(x):
    # Keys's, with a = -0.5, as Pillow has it.
    return (1.5 * x - 2.5) * x * x + 1 if x < 1 else ((2.5 - 0.5 * x) * x - 4) * x + 2


def _lanczos(x):
    return 3 * math.sin(math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x) ** 2 if x else 1.0


# Of the distance, which is 0 or more: the kernel within its radius.
_KERNELS = {"bilinear": (lambda x: 1 - x, 1), "bicubic": (_cubic, 2), "lanczos": (_lanczos, 3)}


@keras.saving.register_keras_serializable(package="kerascnn")
class Preprocess(keras.layers.Layer):
    """Makes a model's input of images of one size: resizes, cuts out the centre, rounds to levels, and normalises.

    Takes (batch, height, width, channels) of uint8 or float, in levels of 0 to 255, and gives (batch, *image_size,
    channels). The pixels are those of the crop `center` of kerascnn.data, or of `squash`, but for rounding; so an image
    of image_size is not resized, unless it is squashed with a fraction below 1.

    `fraction` is the size as a share of what it is cut from, `interpolation` "bilinear", "bicubic" or "lanczos", always
    antialiased; `mean` and `std` are those of each channel, in levels of 0 to 255. Computes in float32, also where the
    result is of less.
    """

    def __init__(self, image_size, mean, std, fraction=0.875, interpolation="bilinear", squash=False, **kwargs):
        super().__init__(autocast=False, **kwargs)  # else bfloat16 would round the levels first
        if interpolation not in _KERNELS:
            raise ValueError(f"interpolation must be {' or '.join(_KERNELS)}, not {interpolation!r}")
        if not 0 < fraction <= 1:
            raise ValueError(f"fraction must be more than 0, and 1 or less, not {fraction!r}")
        self.image_size = tuple(image_size)
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.fraction = fraction
        self.interpolation = interpolation
        self.squash = squash

    def build(self, input_shape):
        _, *sides, channels = input_shape
        if len(input_shape) != 4 or None in sides:
            raise ValueError(
                f"Preprocess needs a fixed image size: (batch, height, width, channels), not {input_shape}"
            )
        if not channels == len(self.mean) == len(self.std):
            raise ValueError(f"images of {channels} channels need as many in mean={self.mean} and std={self.std}")

    def call(self, inputs):
        x = keras.ops.cast(inputs, "float32")
        sides = tuple(x.shape[1:3])
        for letters, side, whole, out in zip(
            ("oh,bhwc->bowc", "ow,bhwc->bhoc"), sides, self._resized(sides), self.image_size, strict=True
        ):
            if not side == whole == out:
                taps = keras.ops.convert_to_tensor(_taps(side, whole, out, self.interpolation), "float32")
                x = keras.ops.einsum(letters, taps, x)
        x = keras.ops.round(keras.ops.clip(x, 0, 255))
        mean, std = (keras.ops.convert_to_tensor(values, "float32") for values in (self.mean, self.std))
        return keras.ops.cast((x - mean) / std, self.compute_dtype)

    def _resized(self, sides):
        """Height and width of the whole image once it is resized."""
        covered = [math.floor(side / self.fraction + 1e-9) for side in self.image_size]
        if self.squash:
            return covered
        if sides == self.image_size:
            return sides
        (height, width), (high, wide) = sides, covered
        return (high, high * width // height) if high * width >= wide * height else (wide * height // width, wide)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.image_size, input_shape[-1])

    def get_config(self):
        fields = ("image_size", "mean", "std", "fraction", "interpolation", "squash")
        return {**super().get_config(), **{field: getattr(self, field) for field in fields}}


@functools.lru_cache(maxsize=64)
def _taps(side, whole, out, interpolation):
    """What each of `out` pixels in the middle of a line takes of each of its `side`, when it is resized to `whole`.

    An array [out, side] of NumPy's, which is no part of any graph.
    """
    kernel, radius = _KERNELS[interpolation]
    scale, offset = whole / side, round((whole - out) / 2)
    step = min(scale, 1.0)  # where the image shrinks, the kernel widens
    rows = []
    for i in range(out):
        centre = (i + offset + 0.5) / scale - 0.5
        distances = [abs(j - centre) * step for j in range(side)]
        row = [kernel(distance) if distance < radius else 0.0 for distance in distances]
        total = sum(row)
        rows.append([tap / total for tap in row])
    return keras.ops.convert_to_numpy(rows)
