"""The first kernel for other channels."""

import numpy as np
import pytest

from kerascnn.weights.names import spread

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 3, 8)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 9, 13])
@pytest.mark.parametrize("inputs", [1, 3, 4])
def test_images_of_equal_channels_give_what_they_gave(channels, inputs):
    kernel = np.resize(KERNEL, (3, 3, inputs, 8))
    spreaded = spread(kernel, channels)
    assert spreaded.shape == (3, 3, channels, 8) and spreaded.dtype == np.float32
    np.testing.assert_allclose(spreaded.sum(-2), kernel.sum(-2), rtol=1e-5, atol=1e-6)


def test_colours_keep_their_kernels():
    assert spread(KERNEL, 3) is KERNEL
    np.testing.assert_array_equal(spread(KERNEL, 6), np.concatenate([KERNEL, KERNEL], -2) / 2)
    four = spread(KERNEL, 4)
    np.testing.assert_array_equal(four[..., 1:3, :], KERNEL[..., 1:, :])
    np.testing.assert_array_equal(four[..., [0, 3], :], KERNEL[..., [0, 0], :] / 2)
