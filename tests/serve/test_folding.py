"""A folded model computes what the model computed, with less: on all kinds of layers, and on the models of others."""

import keras
import numpy as np
import pytest
from keras import layers

import kerascnn
from kerascnn.layers import DropConnectDense, DropPath, LayerScale
from kerascnn.serve.folding import fold

RNG = np.random.default_rng(0)


def fill(model):
    """Weights and statistics as a trained model has them: none of them 0 or 1."""
    for variable in model.weights:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(RNG.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("beta", "moving_mean", "bias"):
            variable.assign(RNG.normal(0, 0.3, variable.shape))
    return model


def images(model, count=3):
    return np.float32(RNG.normal(size=(count, *(side or 16 for side in model.input_shape[1:]))))


def difference(one, other):
    """The largest, over the standard deviation of what is expected; a list for several outputs."""
    pairs = zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True)
    return max(float(np.max(np.abs(np.float64(a) - b)) / np.std(np.float64(b))) for a, b in pairs)


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


def check(model, left=0):
    """Folds it; `left` batch norms stay. Returns what came out."""
    fill(model)
    x = images(model)
    expected = model(x, training=False)
    before = [keras.ops.convert_to_numpy(variable) for variable in model.weights]
    folded = fold(model)
    assert difference(folded(x, training=False), expected) < 1e-5
    assert kinds(folded).count("BatchNormalization") == left
    for variable, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)
    assert difference(model(x, training=False), expected) == 0
    return folded


norm = layers.BatchNormalization
INPUT = (16, 16, 6)


def sequential(*parts, shape=INPUT):
    x = inputs = keras.Input(shape)
    for part in parts:
        x = part(x)
    return keras.Model(inputs, x)


# fmt: off
AHEAD = {
    "conv": [layers.Conv2D(8, 3, use_bias=False), norm()],
    "conv with a bias, padded, with strides": [layers.Conv2D(8, 3, 2, padding="same"), norm()],
    "dilated": [layers.Conv2D(8, 3, dilation_rate=2), norm()],
    "grouped": [layers.Conv2D(9, 3, groups=3), norm()],
    "depthwise": [layers.DepthwiseConv2D(3, padding="same"), norm()],
    "depthwise, two outputs a channel": [layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False), norm()],
    "separable": [layers.SeparableConv2D(8, 3), norm()],
    "transposed": [layers.Conv2DTranspose(5, 3, 2), norm()],
    "dense": [layers.GlobalAveragePooling2D(), layers.Dense(7), norm()],
    "dense on maps": [layers.Dense(7, use_bias=False), norm()],
    "drop connect": [layers.Flatten(), DropConnectDense(5, 0.5), norm()],
    "two in a row": [layers.Conv2D(8, 3), norm(), norm(epsilon=0.1)],
    "past dropout and identities": [
        layers.Conv2D(8, 3), layers.Identity(), layers.Dropout(0.5), DropPath(0.5),
        layers.Activation("linear"), norm(),
    ],
    "without a scale": [layers.Conv2D(8, 3), norm(scale=False)],
    "without a shift": [layers.Conv2D(8, 3), norm(center=False, epsilon=0.01)],
    "conv, its norm, an activation, and again": [
        layers.Conv2D(8, 3), norm(), layers.ReLU(), layers.Conv2D(4, 1), norm(), layers.Activation("silu"),
    ],
}
BEHIND = {
    "conv": [norm(), layers.Conv2D(8, 3)],
    "1x1, whose padding is none": [norm(), layers.Conv2D(8, 1, padding="same", activation="relu", use_bias=False)],
    "past an average": [layers.ReLU(), norm(), layers.GlobalAveragePooling2D(), layers.Dense(5, activation="softmax")],
    "both sides of a convolution": [norm(), layers.Conv2D(8, 3), norm()],
}
STAYS = {
    "ahead of a padded convolution": [norm(), layers.Conv2D(8, 3, padding="same")],
    "ahead of a grouped one": [norm(), layers.Conv2D(6, 3, groups=2)],
    "behind an activation": [layers.Conv2D(8, 3, activation="relu"), norm()],
    "ahead of an activation": [norm(), layers.ReLU(), layers.Conv2D(8, 1)],
    "over another axis": [layers.Conv2D(8, 3), norm(axis=1)],
    "at the end": [layers.MaxPooling2D(), norm()],
    "ahead of flattening": [norm(), layers.Flatten(), layers.Dense(4)],
}
# fmt: on


@pytest.mark.parametrize("kind", AHEAD)
def test_the_layer_ahead_takes_over_its_norm(kind):
    folded = check(sequential(*AHEAD[kind]))
    assert not {"Dropout", "Identity", "DropPath"} & set(kinds(folded))


@pytest.mark.parametrize("kind", BEHIND)
def test_the_layer_behind_takes_over_what_the_one_ahead_cannot(kind):
    check(sequential(*BEHIND[kind]))


@pytest.mark.parametrize("kind", STAYS)
def test_what_would_be_wrong_stays(kind):
    check(sequential(*STAYS[kind]), left=1)


@pytest.mark.parametrize("shape", [(20, 3), (6, 6, 6, 2)])
def test_one_and_three_dimensions(shape):
    conv = layers.Conv1D if len(shape) == 2 else layers.Conv3D
    check(sequential(conv(4, 3), norm(), layers.ReLU(), conv(4, 2, use_bias=False), norm(), shape=shape))


def test_a_convolution_that_another_layer_reads_too_stays():
    inputs = keras.Input(INPUT)
    x = layers.Conv2D(6, 3, padding="same")(inputs)
    check(keras.Model(inputs, layers.Add()([norm()(x), x])), left=1)


def test_a_convolution_that_is_an_output_stays():
    inputs = keras.Input(INPUT)
    x = layers.Conv2D(6, 3)(inputs)
    check(keras.Model(inputs, [x, norm()(x)]), left=1)


def test_a_layer_that_is_called_twice_stays_and_keeps_one_set_of_weights():
    inputs = keras.Input(INPUT)
    conv = layers.Conv2D(6, 3, padding="same")
    model = keras.Model(inputs, norm()(conv(layers.ReLU()(conv(inputs)))))
    folded = check(model, left=1)
    assert kinds(folded).count("Conv2D") == 1 and len(folded.weights) == len(model.weights)


def test_a_norm_that_is_called_twice_goes_into_both_convolutions():
    inputs = keras.Input(INPUT)
    shared = norm()
    model = keras.Model(
        inputs, layers.Add()([shared(layers.Conv2D(4, 3)(inputs)), shared(layers.Conv2D(4, 3)(inputs))])
    )
    check(model)


def test_operations_without_layers_several_inputs_and_names():
    one, other = keras.Input(INPUT, name="one"), keras.Input(INPUT, name="other")
    x = norm()(layers.Conv2D(6, 3, padding="same", name="conv")(one))
    y = keras.ops.pad(keras.ops.relu(x + 2 * other), ((0, 0), (1, 0), (0, 1), (0, 0)))
    model = fill(keras.Model({"one": one, "other": other}, {"sum": y, "mean": keras.ops.mean(y, (1, 2))}))
    inputs = {name: np.float32(RNG.normal(size=(2, *INPUT))) for name in ("one", "other")}
    folded, expected = fold(model)(inputs), model(inputs)
    assert set(folded) == {"sum", "mean"} and difference(folded, expected) < 1e-5


def test_models_within_a_model():
    inner = sequential(layers.Conv2D(6, 3, padding="same"), norm(), layers.ReLU())
    row = keras.Sequential([layers.Conv2D(4, 3), norm(), layers.Dropout(0.5)])
    folded = check(sequential(inner, row, layers.Flatten(), layers.Dense(3)))
    assert "BatchNormalization" not in [type(layer).__name__ for layer in folded._flatten_layers()]


def test_a_sequential_model():
    check(keras.Sequential([keras.Input(INPUT), layers.Conv2D(4, 3), norm(), layers.Dropout(0.3), layers.ReLU()]))


def test_the_statistics_of_a_normalization_stay():
    measured = layers.Normalization()
    measured.adapt(RNG.normal(3, 2, (20, *INPUT)))
    check(sequential(measured, layers.Conv2D(4, 3), norm()))


class AlwaysDropout(layers.Dropout):
    """What it draws at test time tells how sure a model is (https://arxiv.org/abs/1506.02142)."""

    def call(self, x, training=None):
        return super().call(x, training=True)


def test_a_dropout_that_is_meant_for_test_time_stays():
    folded = fold(fill(sequential(layers.Conv2D(4, 3), AlwaysDropout(0.5), norm())))
    x = images(folded)
    assert "BatchNormalization" in kinds(folded) and difference(folded(x), folded(x)) > 0.1


def test_an_average_over_another_axis_is_not_passed():
    check(sequential(norm(), layers.GlobalAveragePooling2D(data_format="channels_first"), layers.Dense(3)), left=1)


def test_maps_of_any_size():
    check(sequential(layers.Conv2D(4, 3), norm(), layers.GlobalMaxPooling2D(), shape=(None, None, 6)))


@keras.saving.register_keras_serializable(package="tests")
class Scale(layers.Layer):
    """A layer that folding cannot know."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="ones", name="bias")

    def call(self, x):
        return x * self.factor


def test_an_unknown_layer_stays_with_its_weights():
    assert "Scale" in kinds(check(sequential(layers.Conv2D(4, 3), Scale(), norm(), layers.ReLU()), left=1))


class Stubborn(Scale):
    def __init__(self, needed, **kwargs):
        super().__init__(**kwargs)

    def get_config(self):
        return {"name": self.name}


def test_a_layer_that_has_no_config_is_named():
    with pytest.raises(ValueError, match=r"(?s)odd \(Stubborn\) cannot be made again from its own config: .*needed"):
        fold(sequential(Stubborn(1, name="odd")))


class Written(keras.Model):
    def call(self, x):
        return x


def test_what_cannot_be_folded_is_named():
    with pytest.raises(ValueError, match="written is no functional Keras model"):
        fold(Written(name="written"))
    with pytest.raises(ValueError, match="precision='int4': take one of float32, bfloat16"):
        fold(sequential(layers.ReLU()), precision="int4")


def test_bfloat16_keeps_the_last_layers_and_the_outputs_in_float32():
    inputs = keras.Input(INPUT)
    x = layers.Rescaling(1 / 255, name="rescaling")(inputs)
    x = layers.ReLU(name="act")(norm()(layers.Conv2D(8, 3, name="conv")(x)))
    features = layers.GlobalAveragePooling2D(name="features")(x)
    scores = layers.Softmax(name="scores")(layers.Dropout(0.5)(layers.Dense(5, name="logits")(features)))
    model = fill(keras.Model(inputs, [features, scores]))
    x = np.float32(RNG.uniform(0, 255, (4, *INPUT)))
    folded = fold(model, precision="bfloat16")
    found = {layer.name: layer.compute_dtype for layer in folded.layers}
    assert found["conv"] == found["act"] == "bfloat16" and {"logits", "features", "scores"} <= found.keys()
    assert [found[name] for name in ("rescaling", "features", "logits", "scores")] == ["float32"] * 4, found
    assert [output.dtype for output in folded(x)] == ["float32", "float32"]
    assert 0 < difference(folded(x), model(x)) < 0.05


def test_a_model_of_mixed_precision_becomes_what_is_asked_for():
    parts = [
        layers.Conv2D(4, 3, dtype="mixed_float16"),
        norm(dtype="mixed_float16"),
        layers.ReLU(dtype="mixed_float16"),
    ]
    assert {layer.compute_dtype for layer in fold(sequential(*parts)).layers} == {"float32"}


def of_applications(name, **options):
    return getattr(keras.applications, name)(weights=None, classifier_activation=None, classes=20, **options)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("MobileNetV2", 0),
        pytest.param("ResNet50", 0, marks=pytest.mark.slow),
        pytest.param("EfficientNetB0", 0, marks=pytest.mark.slow),
        pytest.param("DenseNet121", 62, marks=pytest.mark.slow),  # behind concatenations that others read too
    ],
)
def test_models_of_keras_applications(name, left):
    check(of_applications(name, input_shape=(64, 64, 3)), left)


# How many norms stay: of resnetv2_18 those behind additions, which are ahead of their activations.
@pytest.mark.parametrize(("name", "left"), [("resnet20_cifar", 0), ("resnetv2_18", 9)])
def test_models_of_the_zoo(name, left):
    check(kerascnn.create_model(name, num_classes=10, input_shape=(32, 32, 3)), left)


# Convolutions of the same map that are added; the map itself, and its norm, are such, too.
# fmt: off
SUMS = {
    "RepVGG's": [
        [layers.Conv2D(6, 3, padding="same", use_bias=False), norm()], [layers.Conv2D(6, 1), norm()], [norm()],
    ],
    "the map itself": [[layers.Conv2D(6, 3, padding="same")], []],
    "grouped": [[layers.Conv2D(6, 3, padding="same", groups=3)], [layers.Conv2D(6, 1, groups=3), norm()], [norm()]],
    "depthwise": [[layers.DepthwiseConv2D(3, padding="same"), norm()], [layers.DepthwiseConv2D(1), norm()], [norm()]],
    "with strides, padded alike": [[layers.ZeroPadding2D(1), layers.Conv2D(4, 3, 2)], [layers.Conv2D(4, 1, 2), norm()]],
    "with strides, padded by Keras": [[layers.Conv2D(4, 3, 2, padding="same")], [layers.Conv2D(4, 1, 2)]],
    "dilated": [[layers.Conv2D(4, 3, padding="same", dilation_rate=2)], [layers.Conv2D(4, 1)]],
    "a row, a column and a square": [
        [layers.Conv2D(4, (1, 3), padding="same")], [layers.Conv2D(4, (3, 1), padding="same")],
        [layers.Conv2D(4, 5, padding="same")],
    ],
    "of the same size, scaled": [[layers.Conv2D(4, 3), LayerScale(0.5)], [layers.Conv2D(4, 3), DropPath(0.5)]],
}
# How many convolutions stay of those that are not, or not all, of the same kind.
NO_SUMS = {
    "an activation between": (2, [[layers.Conv2D(6, 3, padding="same", activation="relu")], [layers.Conv2D(6, 1)]]),
    "other groups": (2, [[layers.Conv2D(6, 3, padding="same", groups=3)], [layers.Conv2D(6, 1)]]),
    "of another map": (2, [[layers.Conv2D(6, 3, padding="same")], [layers.ReLU(), layers.Conv2D(6, 1)]]),
    "beside something else": (1, [[layers.Conv2D(6, 3, padding="same")], [layers.Conv2D(6, 1)], [layers.ReLU()]]),
    "taps between those of the dilated": (
        2, [[layers.Conv2D(6, 3, padding="same", dilation_rate=2)], [layers.Conv2D(6, 3, padding="same")]]
    ),
    "a corner outside of the kernel": (
        2,
        [
            [layers.ZeroPadding2D(1), layers.Conv2D(6, 1, 2)],
            [layers.ZeroPadding2D(1), layers.Conv2D(6, 3, 2), layers.ZeroPadding2D(((0, 1), (0, 1)))],
        ],
    ),
}
# fmt: on


def branched(branches, shape=INPUT):
    inputs = keras.Input(shape)
    parts = []
    for branch in branches:
        x = inputs
        for part in branch:
            x = part(x)
        parts.append(x)
    return keras.Model(inputs, layers.ReLU()(layers.Add()(parts)))


def convolutions(model):
    return sum("Conv" in kind for kind in kinds(model))


@pytest.mark.parametrize("kind", SUMS)
def test_branches_that_are_added_become_one(kind):
    folded = check(branched(SUMS[kind]))
    assert convolutions(folded) == 1 and "Add" not in kinds(folded)


@pytest.mark.parametrize("kind", NO_SUMS)
def test_what_is_no_sum_of_convolutions_stays(kind):
    left, branches = NO_SUMS[kind]
    folded = check(branched(branches))
    assert convolutions(folded) == left and "Add" in kinds(folded)


def test_padding_that_depends_on_the_size_is_not_taken_over():
    strided = [[layers.Conv2D(4, 3, 2, padding="same")], [layers.Conv2D(4, 1, 2)]]
    assert convolutions(check(branched(strided, (None, None, 6)))) == 2


@pytest.mark.parametrize("fields", [{}, {"groups": 2}, {"norm": "none"}, {"output_stride": 8}, {"padding": "same"}])
def test_repvgg_becomes_a_plain_net(fields):
    shallow = {"depths": (1, 2, 2, 1), "widths": (8, 16, 16, 24), "input_shape": (33, 33, 3), "num_classes": 5}
    folded = check(kerascnn.create_model("repvgg_a0", **shallow, **fields))
    assert convolutions(folded) == 7 and "Add" not in kinds(folded)


def test_scales_of_branches_are_folded():
    shallow = {"depths": (1, 1, 1, 1), "widths": (8, 8, 8, 8), "input_shape": (32, 32, 3), "layer_scale": 0.5}
    for name in ("convnext_atto", "inception_next_atto"):
        folded = check(kerascnn.create_model(name, **shallow), left=0)
        assert "LayerScale" not in kinds(folded) and kinds(folded).count("Add") == 4
