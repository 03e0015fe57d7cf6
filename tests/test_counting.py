import keras
import pytest
from keras import layers

import kerascnn


def count(*stack, shape=(12, 12, 3)):
    return kerascnn.complexity(keras.Sequential([keras.Input(shape), *stack]))


def test_the_lectures_convolution_and_its_separable_twin():
    assert count(layers.Conv2D(256, 5)).macs == 1_228_800
    assert count(layers.DepthwiseConv2D(5), layers.Conv2D(256, 1)).macs == 4_800 + 49_152
    assert count(layers.SeparableConv2D(256, 5)).macs == 53_952


# fmt: off
CASES = [
    (layers.Conv2D(8, 3, 2, "same"),                    (9, 12, 4),   5 * 6 * 3 * 3 * 4 * 8),
    (layers.Conv2D(8, 3, groups=4),                     (9, 12, 4),   7 * 10 * 3 * 3 * 1 * 8),
    (layers.Conv2D(8, (1, 7)),                          (9, 12, 4),   9 * 6 * 7 * 4 * 8),
    (layers.Conv2D(8, 3, dilation_rate=2),              (9, 12, 4),   5 * 8 * 3 * 3 * 4 * 8),
    (layers.Conv2D(8, 3, data_format="channels_first"), (4, 9, 12),   7 * 10 * 3 * 3 * 4 * 8),
    (layers.DepthwiseConv2D(3, depth_multiplier=2),     (9, 12, 4),   7 * 10 * 3 * 3 * 4 * 2),
    (layers.SeparableConv2D(8, 3, depth_multiplier=2),  (9, 12, 4),   7 * 10 * (3 * 3 * 8 + 8 * 8)),
    (layers.Conv2DTranspose(8, 3, 2),                   (9, 12, 4),   9 * 12 * 3 * 3 * 4 * 8),
    (layers.Conv1D(8, 3, padding="causal"),             (9, 4),       9 * 3 * 4 * 8),
    (layers.Conv3D(8, 3),                               (5, 6, 7, 4), 3 * 4 * 5 * 27 * 4 * 8),
    (layers.Dense(8),                                   (5,),         5 * 8),
    (layers.Dense(8),                                   (9, 12, 5),   9 * 12 * 5 * 8),
    (layers.BatchNormalization(),                       (9, 12, 4),   0),
    (layers.PReLU(),                                    (9, 12, 4),   0),
    (layers.MaxPooling2D(),                             (9, 12, 4),   0),
]
# fmt: on


@pytest.mark.parametrize(("layer", "shape", "macs"), CASES)
def test_multiply_accumulates(layer, shape, macs):
    assert count(layer, shape=shape).macs == macs


def test_lenet5_layer_by_layer():
    cost = kerascnn.complexity(kerascnn.create_model("lenet5"))
    rows = [(row.output_shape, row.params, row.macs) for row in cost.layers if row.params]
    assert rows == [
        ((28, 28, 6), 156, 28 * 28 * 25 * 6),
        ((10, 10, 16), 2_416, 10 * 10 * 25 * 6 * 16),
        ((120,), 48_120, 400 * 120),
        ((84,), 10_164, 120 * 84),
        ((10,), 850, 84 * 10),
    ]
    assert cost.layers[0][:2] == ("stage1_conv1", "Conv2D")
    assert (cost.params, cost.macs) == (61_706, sum(row[2] for row in rows))


def test_batch_norms_averages_are_parameters_that_do_not_train():
    cost = count(layers.BatchNormalization(), layers.Dropout(0.5))
    assert (cost.params, cost.trainable_params) == (12, 6)


def test_a_shared_layer_works_twice_and_weighs_once():
    image = keras.Input((8, 8, 4))
    shared = layers.Conv2D(4, 3, padding="same")
    cost = kerascnn.complexity(keras.Model(image, shared(shared(image))))
    assert (cost.params, cost.macs) == (148, 2 * 64 * 9 * 16)
    assert [row.params for row in cost.layers] == [148, 0]


def test_a_model_within_a_model():
    inner = kerascnn.create_model("lenet5", num_classes=0)
    cost = count(inner, layers.Dense(3), shape=(32, 32, 1))
    assert cost.params == 61_706 - 850 + 85 * 3
    assert cost.macs == kerascnn.complexity(inner).macs + 84 * 3
    assert "lenet5/stage1_conv1" in [row.name for row in cost.layers]


def test_an_open_size_is_an_error_that_says_what_to_give():
    with pytest.raises(ValueError, match=r"stem_conv is not fixed: build the model with input_shape=\(height, width"):
        kerascnn.complexity(kerascnn.create_model("resnet20_cifar", input_shape=(None, None, 3)))


def test_what_cannot_be_counted_is_an_error():
    with pytest.raises(ValueError, match=r"the multiply-accumulates of .*, a LSTM, are not known"):
        count(layers.LSTM(4), shape=(5, 3))
    with pytest.raises(ValueError, match="has no graph to count"):
        kerascnn.complexity(keras.Sequential([layers.Dense(1)]))
