import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import kerascnn
from kerascnn.layers import DropConnectDense, EfficientChannelAttention, FractionalMaxPooling2D


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
    model = kerascnn.create_model("resnet20_cifar", input_shape=(None, None, 3))
    with pytest.raises(ValueError, match=r"stem_conv is not fixed: give complexity input_shape=\(height, width"):
        kerascnn.complexity(model)
    fixed = kerascnn.create_model("resnet20_cifar")
    found, wanted = kerascnn.complexity(model, (32, 32, 3)), kerascnn.complexity(fixed)
    assert [row[1:] for row in found.layers] == [row[1:] for row in wanted.layers]
    assert found._replace(layers=()) == wanted._replace(layers=())
    assert model.get_layer("stage1").output.shape[1] is None  # nothing was done to it


def test_an_open_model_within_a_model_is_counted_at_its_size_there():
    inner = kerascnn.create_model("resnet20_cifar", input_shape=(None, None, 3), num_classes=0)
    image, small = keras.Input((32, 32, 3)), keras.Input((8, 8, 3))
    cost = kerascnn.complexity(keras.Model([image, small], [inner(image), inner(small)]))
    once = kerascnn.complexity(inner, (32, 32, 3)).macs
    assert (cost.params, cost.macs) == (inner.count_params(), once + once // 16)
    with pytest.raises(ValueError, match="has 2 inputs: build it with fixed sizes"):
        kerascnn.complexity(keras.Model([image, small], [inner(image), inner(small)]), (32, 32, 3))


class Subclass(keras.Model):
    """Has a graph, as keras.Model(inputs, outputs) does."""

    def __init__(self):
        image = keras.Input((8, 8, 3))
        super().__init__(image, layers.Conv2D(4, 3)(image))


def test_a_subclass_with_a_graph():
    assert kerascnn.complexity(Subclass()).macs == 36 * 27 * 4


Q, V, MAP, ROWS = (keras.Input(shape) for shape in ((7, 16), (5, 12), (9, 12, 4), (7, 2, 8)))
# fmt: off
PRODUCTS = [
    (ops.matmul(Q, ops.ones((16, 3))),                                7 * 16 * 3),
    (ops.matmul(ops.ones((3, 7)), Q),                                 3 * 7 * 16),
    (ops.matmul(Q, ops.transpose(Q, (0, 2, 1))),                      7 * 7 * 16),
    (Q @ ops.ones((16, 3)),                                           7 * 16 * 3),
    (ops.dot(Q, ops.ones((16, 3))),                                   7 * 16 * 3),
    (ops.dot(Q, ops.array(2.0)),                                      0),
    (ops.inner(Q, ops.ones((3, 16))),                                 7 * 16 * 3),
    (ops.tensordot(Q, ops.ones((16, 3)), axes=1),                     7 * 16 * 3),
    (ops.einsum("btc,bsc->bts", Q, Q),                                7 * 7 * 16),
    (ops.einsum("btc,cd", Q, ops.ones((16, 3))),                      7 * 16 * 3),
    (ops.einsum("...c,cd->...d", MAP, ops.ones((4, 3))),              9 * 12 * 4 * 3),
    (ops.einsum("btc,btc->btc", Q, Q),                                0),
    (ops.einsum("btc->bct", Q),                                       0),
    (layers.Dot(2)([Q, Q]),                                           7 * 7 * 16),
    (layers.Dot((2, 1), normalize=True)([Q, layers.Dense(16)(Q)[:, 0]]), 7 * 16 + 7 * 16 * 16),
    (layers.EinsumDense("abc,cd->abd", (None, 9))(Q),                 7 * 16 * 9),
    (layers.EinsumDense("...x,xy->...y", 9)(MAP),                     9 * 12 * 4 * 9),
    (layers.EinsumDense("abc,cde->abde", (None, 4, 5))(Q),            7 * 16 * 4 * 5),
    (ops.conv(MAP, ops.ones((3, 3, 4, 8)), padding="same"),           9 * 12 * 9 * 4 * 8),
    (ops.depthwise_conv(MAP, ops.ones((3, 3, 4, 2))),                 7 * 10 * 9 * 4 * 2),
    (ops.conv_transpose(MAP, ops.ones((3, 3, 8, 4)), 2),              9 * 12 * 9 * 4 * 8),
    (ops.separable_conv(MAP, ops.ones((3, 3, 4, 1)), ops.ones((1, 1, 4, 8))), 7 * 10 * (9 * 4 + 4 * 8)),
    (layers.Attention()([Q, Q]),                                      2 * 7 * 7 * 16),
    (ops.dot_product_attention(ROWS, ROWS, ROWS),                     2 * 7 * 7 * 2 * 8),
    (layers.MultiHeadAttention(3, 4)(Q, Q),                           4 * 7 * 16 * 12 + 2 * 7 * 7 * 12),
    (layers.MultiHeadAttention(3, 4, value_dim=5)(Q, V),
     7 * 16 * 12 + 5 * 12 * 12 + 5 * 12 * 15 + 7 * 5 * 12 + 7 * 5 * 15 + 7 * 15 * 16),
    (layers.MultiHeadAttention(3, 4, attention_axes=2)(MAP, MAP),     4 * 108 * 4 * 12 + 2 * 108 * 12 * 12),
    (layers.GroupQueryAttention(4, 4, 2)(Q, Q),                       2 * 7 * 16 * (16 + 8) + 2 * 7 * 7 * 16),
    (DropConnectDense(9, 0.1)(Q),                                     7 * 16 * 9),
    (EfficientChannelAttention(3)(MAP),                               0),
]
# fmt: on


@pytest.mark.parametrize(("output", "macs"), PRODUCTS)
def test_matrix_products(output, macs):
    assert kerascnn.complexity(keras.Model([Q, V, MAP, ROWS], output)).macs == macs


@pytest.mark.filterwarnings("ignore:NotImplemented should not be used:DeprecationWarning")  # in Keras itself
def test_a_product_over_several_axes():
    output = ops.tensordot(Q, ops.ones((3, 7, 16)), axes=((1, 2), (1, 2)))
    assert kerascnn.complexity(keras.Model(Q, output)).macs == 7 * 16 * 3


def test_three_factors_have_no_one_count():
    with pytest.raises(ValueError, match="depend on its order: multiply two tensors at a time"):
        kerascnn.complexity(keras.Model(Q, ops.einsum("btc,cd,de->bte", Q, ops.ones((16, 3)), ops.ones((3, 2)))))


def last(model):
    row = kerascnn.complexity(model).layers[-1]
    return row.receptive_field, row.stride


def stack(*layers, shape=(64, 64, 3)):
    return keras.Sequential([keras.Input(shape), *layers])


# fmt: off
FIELDS = [
    ([layers.Conv2D(4, 3), layers.Conv2D(4, 3), layers.Conv2D(4, 3)],                     7, 1),
    ([layers.Conv2D(4, 7, 2, "same"), layers.MaxPooling2D(3, 2, "same")],                11, 4),
    ([layers.DepthwiseConv2D(5), layers.Conv2D(4, 1)],                                    5, 1),
    ([layers.SeparableConv2D(4, 5, 2), layers.SeparableConv2D(4, 3)],                     9, 2),
    ([layers.Conv2D(4, 3, dilation_rate=4)],                                              9, 1),
    ([layers.Conv2D(4, (1, 7)), layers.Conv2D(4, (3, 1))],                                7, 1),
    ([layers.AveragePooling2D(2), layers.Conv2D(4, 3)],                                   6, 2),
    ([layers.Conv2D(4, 3, 2), layers.ZeroPadding2D(1), layers.Conv2D(4, 3)],              7, 2),
    ([layers.Conv2D(4, 3, 4), layers.Conv2DTranspose(4, 4, 4), layers.Conv2D(4, 3)],      5, 1),
    ([layers.Conv2D(4, 3, 4), layers.UpSampling2D(2)],                                    3, 2),
    ([layers.Conv2D(4, 3, 4), layers.UpSampling2D(2, interpolation="bilinear")],          7, 2),
    ([layers.Conv2D(4, 3), layers.Cropping2D(2), layers.BatchNormalization()],            3, 1),
    ([layers.AveragePooling2D(4), layers.AdaptiveAveragePooling2D(8)],                    8, 8),
    ([FractionalMaxPooling2D(1.5), layers.Conv2D(4, 2)],                                  4, 62 / 41),
    ([layers.Conv2D(4, 3), layers.Dense(4)],                                              3, 1),
    ([layers.Conv2D(4, 3), EfficientChannelAttention(3)],                                 3, 1),
    ([layers.Conv2D(4, 3), layers.Reshape((62, 62, 2, 2)), layers.Permute((1, 2, 4, 3))], 3, 1),
    ([layers.Conv2D(4, 3), layers.Permute((2, 1, 3))],                                    math.inf, math.inf),
    ([layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()],                              math.inf, math.inf),
    ([layers.Conv2D(4, 3), layers.AdaptiveMaxPooling2D(1)],                               math.inf, math.inf),
    ([layers.Flatten(), layers.Dense(4)],                                                 math.inf, math.inf),
    ([layers.Conv2D(4, 3), layers.Resizing(64, 64, "nearest")],                           3, 62 / 64),
]
# fmt: on


@pytest.mark.parametrize(("stacked", "field", "stride"), FIELDS)
def test_receptive_fields(stacked, field, stride):
    assert last(stack(*stacked)) == (field, pytest.approx(stride))


def test_receptive_fields_in_one_and_three_dimensions():
    assert last(stack(layers.Conv1D(4, 3, 2, "causal"), layers.MaxPooling1D(4), shape=(64, 3))) == (9, 8)
    assert last(stack(layers.Conv3D(2, 3), layers.Conv3D(2, 3, 2), shape=(9, 9, 9, 1))) == (5, 2)
    options = {"data_format": "channels_first"}
    assert last(stack(layers.Conv2D(4, 3, 2, **options), layers.MaxPooling2D(2, **options), shape=(3, 9, 9))) == (5, 4)


def test_branches_see_what_any_of_them_sees():
    image = keras.Input((32, 32, 3))
    wide, narrow = layers.Conv2D(4, 5, padding="same")(image), layers.Conv2D(4, 1)(image)
    assert last(keras.Model(image, layers.Add()([wide, narrow]))) == (5, 1)
    assert last(keras.Model(image, layers.Concatenate()([narrow, wide]))) == (5, 1)
    shifted = narrow[:, 4:] + narrow[:, :-4]  # pixels 0 and 4, so five together
    assert last(keras.Model(image, shifted)) == (5, 1)
    assert last(keras.Model(image, wide[:, ::2, ::2])) == (5, 2)
    assert last(keras.Model(image, ops.pad(wide, ((0, 0), (1, 1), (1, 1), (0, 0))))) == (5, 1)


def test_gates_do_not_count():
    image = keras.Input((32, 32, 4))
    conv = layers.Conv2D(4, 3, padding="same")(image)
    means = layers.GlobalAveragePooling2D(keepdims=True)(conv)
    for gated in (layers.Multiply()([conv, means]), conv * means, ops.mean(conv, (1, 2), keepdims=True) * conv):
        assert last(keras.Model(image, gated)) == (3, 1)
    assert last(keras.Model(image, conv + means)) == (math.inf, math.inf)


def test_attention_sees_all():
    assert last(keras.Model(Q, layers.MultiHeadAttention(2, 4)(Q, Q))) == (math.inf, math.inf)
    assert last(keras.Model(Q, Q @ ops.transpose(Q, (0, 2, 1)))) == (math.inf, math.inf)
    assert last(keras.Model(Q, Q @ ops.ones((16, 3)))) == (1, 1)


# Each output's gradient reaches the pixels that it sees, and no others.
MEASURED = [
    [layers.Conv2D(1, 3, 2, "same"), layers.AveragePooling2D(3, 2, "same"), layers.Conv2D(1, 3, padding="same")],
    [layers.ZeroPadding2D(3), layers.Conv2D(1, 7, 2), layers.Conv2D(1, 3, dilation_rate=2, padding="same")],
    [layers.Conv2D(1, 5, 3), layers.SeparableConv2D(1, 3), layers.AveragePooling2D(2)],
    [layers.Conv2D(1, 3, 2, "same"), layers.Conv2DTranspose(1, 3, 2, "same"), layers.Conv2D(1, 3)],
    [layers.AveragePooling2D(4), layers.Conv2DTranspose(1, 6, 2, "same")],
    [layers.AveragePooling2D(4), layers.UpSampling2D(2), layers.DepthwiseConv2D(3)],
]


@pytest.mark.parametrize("stacked", MEASURED)
def test_receptive_fields_are_what_gradients_reach(stacked):
    model = stack(*stacked, shape=(64, 64, 1))
    for weight in model.weights:
        weight.assign(np.ones(weight.shape))
    image = tf.Variable(np.ones((1, 64, 64, 1), "float32"))
    sizes = []
    middle = model.output_shape[1] // 2
    for i in (middle - 1, middle, middle + 1, middle + 2):
        with tf.GradientTape() as tape:
            y = model(image)[0, i, i, 0]
        rows = np.nonzero(tape.gradient(y, image).numpy().any((0, 2, 3)))[0]
        sizes.append(rows.max() - rows.min() + 1)
    assert last(model)[0] == max(sizes)


def fields(name, **options):
    cost = kerascnn.complexity(kerascnn.create_model(name, **options))
    return [(row.receptive_field, row.stride) for row in cost.layers if row.kind == "Identity"]


def test_published_receptive_fields():
    """https://distill.pub/2019/computing-receptive-fields/, but for v1.5, which strides later."""
    resnet = {"input_shape": (64, 64, 3), "num_classes": 0}
    assert fields("resnet50", **resnet) == [(35, 4), (91, 8), (267, 16), (427, 32)]
    assert fields("resnet50", **resnet, stride_in_1x1=True)[-1] == (483, 32)
    assert fields("resnet18", **resnet, output_stride=8) == [(43, 4), (99, 8), (211, 8), (435, 8)]
    assert fields("seresnet18", **resnet)[-1] == fields("resnet18", **resnet)[-1] == (435, 32)
    assert fields("lenet5") == [(6, 2), (16, 4)]


@pytest.mark.parametrize(("name", "field", "stride"), [("vgg16", 212, 32), ("alexnet", 195, 32)])
def test_published_receptive_fields_of_nets_with_fully_connected_layers(name, field, stride):
    assert fields(name, num_classes=0, pooling=None)[-1] == (field, stride)


def test_keras_own_mobilenet():
    cost = kerascnn.complexity(keras.applications.MobileNetV2(weights=None, include_top=False), (224, 224, 3))
    assert (cost.macs, cost.layers[-1].receptive_field, cost.layers[-1].stride) == (299_494_272, 491, 32)


def test_peak_memory():
    image = keras.Input((8, 8, 1))
    first = layers.Conv2D(3, 3, padding="same")(image)
    assert kerascnn.complexity(keras.Model(image, first)).peak_memory == 4 * 64 * (1 + 3)
    x = layers.Conv2D(2, 3, padding="same")(first)
    assert kerascnn.complexity(keras.Model(image, x)).peak_memory == 4 * 64 * (3 + 2)  # the image is no longer needed
    handed_on = layers.Flatten()(layers.Dropout(0.5)(layers.Identity()(x)))
    assert kerascnn.complexity(keras.Model(image, handed_on)).peak_memory == 4 * 64 * (3 + 2)
    joined = layers.Concatenate()([layers.Conv2D(1, 1)(x), first])  # which waits for the others
    assert kerascnn.complexity(keras.Model(image, joined)).peak_memory == 4 * 64 * (3 + 1 + 4)


def test_peak_memory_of_an_open_size_is_not_known():
    cost = kerascnn.complexity(stack(layers.GlobalAveragePooling2D(), layers.Dense(2), shape=(None, None, 3)))
    assert (cost.macs, cost.peak_memory) == (6, None)


def test_what_cannot_be_counted_is_an_error():
    with pytest.raises(ValueError, match=r"the multiply-accumulates of .*, a LSTM, are not known"):
        count(layers.LSTM(4), shape=(5, 3))
    with pytest.raises(ValueError, match="has no graph to count"):
        kerascnn.complexity(keras.Sequential([layers.Dense(1)]))
