"""The few layers that Keras lacks."""

import keras


@keras.saving.register_keras_serializable(package="kerascnn")
class DropPath(keras.layers.Layer):
    """Stochastic depth (https://arxiv.org/abs/1603.09382): while training, zeroes whole images of a batch.

    Each image is dropped with probability `rate`, and those that stay are divided by 1 - rate, so that the expected
    value is the input. At test time the layer does nothing. Any shape, images first.
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be 0 or more, and less than 1, not {rate!r}")
        self.rate = rate
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
