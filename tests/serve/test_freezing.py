"""A frozen model has no variables, gives what the model gives, and is laid out for oneDNN."""

from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.core.protobuf import config_pb2

from kerascnn import create_model
from kerascnn.serve.folding import fold
from kerascnn.serve.freezing import freeze

RNG = np.random.default_rng(0)
INPUT = (16, 16, 6)


def sequential(*parts, shape=INPUT):
    x = inputs = keras.Input(shape)
    for part in parts:
        x = part(x)
    return keras.Model(inputs, x)


def fill(model):
    for variable in model.weights:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(RNG.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("beta", "moving_mean", "bias"):
            variable.assign(RNG.normal(0, 0.3, variable.shape))
    return model


def graph(model):
    """(its function traced for images of the model's size, the nodes in it by their type)."""
    spec = tf.TensorSpec(model.input_shape, tf.float32)
    traced = tf.function(freeze(model)).get_concrete_function(spec)
    nodes = Counter(op.type for op in traced.graph.get_operations())
    assert not traced.variables and "ReadVariableOp" not in nodes
    return traced, nodes


def check(model, tolerance=1e-5):
    fill(model)
    traced, nodes = graph(model)
    x = np.float32(RNG.normal(size=(3, *(side or 16 for side in model.input_shape[1:]))))
    expected = np.float64(model(x, training=False))
    assert np.max(np.abs(traced(tf.constant(x)) - expected)) / np.std(expected) < tolerance
    return nodes


# fmt: off
PADS = {
    # What comes in the place of the padding, by the layers: "" for a Pad that stays.
    "symmetric": ([layers.ZeroPadding2D(1), layers.Conv2D(8, 3, 2)], "EXPLICIT"),
    "as SAME at stride 1": ([layers.ZeroPadding2D(1), layers.Conv2D(8, 3)], "SAME"),
    "as SAME at stride 2": ([layers.ZeroPadding2D(((0, 1), (0, 1))), layers.Conv2D(8, 3, 2)], "SAME"),
    "each side another": ([layers.ZeroPadding2D(((0, 2), (3, 1))), layers.Conv2D(8, 3, 2)], "EXPLICIT"),
    "dilated": ([layers.ZeroPadding2D(2), layers.Conv2D(8, 3, dilation_rate=2)], "EXPLICIT"),
    "depthwise as SAME": ([layers.ZeroPadding2D(((0, 1), (0, 1))), layers.DepthwiseConv2D(3, 2)], "SAME"),
    "depthwise, symmetric": ([layers.ZeroPadding2D(1), layers.DepthwiseConv2D(3, 2)], "SAME"),
    "depthwise, symmetric, larger": ([layers.ZeroPadding2D(2), layers.DepthwiseConv2D(5, 2)], "SAME"),
    "depthwise, more than it needs": ([layers.ZeroPadding2D(2), layers.DepthwiseConv2D(3, 2)], ""),
    "depthwise, dilated": ([layers.ZeroPadding2D(2), layers.DepthwiseConv2D(3, dilation_rate=2)], ""),
    "ahead of a layer that pads itself": ([layers.ZeroPadding2D(1), layers.Conv2D(8, 3, padding="same")], ""),
    "ahead of a pool": ([layers.ZeroPadding2D(1), layers.MaxPooling2D(2)], ""),
}
# fmt: on


@pytest.mark.parametrize("kind", PADS)
def test_a_convolution_pads_for_itself_where_it_can(kind):
    parts, padding = PADS[kind]
    model = sequential(*parts)
    nodes = check(model)
    assert nodes["Pad"] + nodes["PadV2"] == (not padding)
    traced, _ = graph(model)
    for op in traced.graph.get_operations():
        if op.type in ("Conv2D", "DepthwiseConv2dNative") and padding:
            assert op.get_attr("padding") == padding.encode()


def test_padding_of_maps_of_any_size_is_not_taken_for_same():
    assert check(sequential(layers.ZeroPadding2D(1), layers.Conv2D(8, 3, 2), shape=(None, None, 6)))["Pad"] == 0


def test_a_padding_that_others_read_too_stays():
    inputs = keras.Input(INPUT)
    x = layers.ZeroPadding2D(1)(inputs)
    y = layers.Conv2D(6, 3)(x)
    assert check(keras.Model(inputs, [y, layers.AveragePooling2D(2)(x)][:1]))["Pad"] == 0
    assert check(keras.Model(inputs, layers.Concatenate()([layers.Flatten()(y), layers.Flatten()(x)])))["Pad"] == 1


@pytest.mark.parametrize(
    "part",
    [
        layers.Conv2D(9, 3, groups=3, padding="same", activation="relu"),
        layers.Conv2D(8, (1, 3), (2, 1), use_bias=False),
        layers.DepthwiseConv2D(3, depth_multiplier=2, activation="silu"),
        layers.DepthwiseConv2D((3, 1), padding="same", use_bias=False),
        layers.SeparableConv2D(8, 3),
        layers.Conv2DTranspose(4, 3, 2),
        layers.BatchNormalization(),
        layers.BatchNormalization(axis=1, scale=False),
        layers.LayerNormalization(),
        layers.Normalization(),
        layers.Normalization(mean=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], variance=[2.0] * 6),
        layers.Rescaling(1 / 255, 0.5),
        layers.PReLU(),
        layers.Permute((2, 1, 3)),
        layers.Dense(5, activation="tanh"),
    ],
    ids=lambda part: part.name,
)
def test_every_layer_gives_what_it_gave(part):
    if isinstance(part, layers.Normalization) and part.input_mean is None:
        part.adapt(RNG.normal(3, 2, (20, *INPUT)))
    check(fold(sequential(part, layers.GlobalAveragePooling2D(), layers.Dense(4, activation="softmax"))))


@pytest.mark.parametrize(
    "part", [layers.Flatten(), layers.Reshape((-1, 12)), layers.Reshape((256, 6))], ids=["flat", "rest", "all"]
)
def test_shapes_that_are_known_are_not_asked_for(part):
    nodes = check(sequential(layers.ReLU(), part, layers.Activation("tanh")))
    assert nodes["Reshape"] and not nodes["Shape"]


def test_a_layer_called_twice_and_sums_of_several_kinds():
    inputs = keras.Input(INPUT)
    conv = layers.Conv2D(6, 3, padding="same")
    x = conv(conv(inputs))
    x = layers.Add()([x, inputs, conv(x)]) + inputs
    x = keras.ops.add(x, 1.0) + layers.GlobalAveragePooling2D(keepdims=True)(x)
    nodes = check(keras.Model(inputs, x))
    assert nodes["AddN"] == 2 and nodes["Conv2D"] == 3


def optimized(model):
    """What runs, by its type and what is fused into it."""
    frozen = freeze(model)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, model.input_shape)
        y = tf.identity(frozen(x))
        record = config_pb2.RunMetadata()
        options = config_pb2.RunOptions(output_partition_graphs=True)
        session.run(y, {x: np.zeros((1, *model.input_shape[1:]), np.float32)}, options, record)
    return Counter(
        (node.op.removeprefix("_MklNative").removeprefix("_"), b",".join(node.attr["fused_ops"].list.s).decode())
        for part in record.partition_graphs
        for node in part.node
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_residual_block_is_only_fused_convolutions(precision):
    model = fold(fill(create_model("resnet20_cifar", num_classes=10)), precision=precision)
    nodes = optimized(model)
    assert nodes["FusedConv2D", "BiasAdd,Relu"] == 10 and nodes["FusedConv2D", "BiasAdd,Add,Relu"] == 9
    assert not {"Relu", "AddN", "AddV2", "BiasAdd", "Conv2D"} & {op for op, _ in nodes}


def test_two_functions_share_one_set_of_constants(tmp_path):
    model = fold(fill(create_model("resnet20_cifar", num_classes=10)))
    spec = [tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, "inputs")]
    core = tf.function(freeze(model), spec)
    module = tf.Module()
    module.one = tf.function(lambda inputs: {"logits": core(inputs)}, spec)
    module.other = tf.function(lambda inputs: {"scores": tf.nn.softmax(core(inputs))}, spec)
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.one, "other": module.other})
    assert (tmp_path / "saved_model.pb").stat().st_size < 1.2 * 4 * model.count_params() + 100_000


@pytest.mark.parametrize("constants", [True, False])
def test_no_loader_warns_of_the_gradient_of_silu(constants, tmp_path, caplog):
    model = fill(sequential(layers.Conv2D(4, 3), layers.Activation("silu"), layers.BatchNormalization()))
    bundle = tf.Module()
    bundle.variables_of_the_model = [variable.value for variable in model.variables]
    network = freeze(model, constants=constants)
    shared = tf.function(network, input_signature=[tf.TensorSpec(model.input_shape, tf.float32)])
    signature = tf.function(lambda x: {"y": shared(x)}, input_signature=shared.input_signature)
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(bundle, str(tmp_path), signatures=signature, options=options)
    x = np.float32(RNG.normal(size=(2, *INPUT)))
    y = tf.saved_model.load(str(tmp_path)).signatures["serving_default"](x=tf.constant(x))["y"]
    np.testing.assert_allclose(y, model(x, training=False), atol=1e-5)
    assert "gradient" not in caplog.text
