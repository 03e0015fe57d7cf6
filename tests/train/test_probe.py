"""What is measured is what NumPy finds in a plain forward pass and a plain tape; nothing is left out."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerascnn import create_model
from kerascnn.layers import EfficientChannelAttention
from kerascnn.train import probe
from kerascnn.train.probe import Probe

FUNCTIONS = {  # by NumPy, in float64
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
}
WITH_KERNELS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense, EfficientChannelAttention)
CAN_DIE = ("relu", "relu6", "hard_sigmoid", "hard_silu")


def looked_at(looking, model, images, **named):
    """The outputs of the model and the statistics, by their names, of gradients and changes that are all ones."""
    ones = [tf.ones(variable.shape) for variable in model.trainable_variables]
    outputs = looking.model(images, **named)
    count = len(model.outputs)
    before = [tf.identity(variable) for variable in model.trainable_variables]
    after = [value + 0.5 for value in before]
    values = looking.statistics(outputs[count:], ones, before, after)
    assert values.shape == (len(looking.names),) and values.dtype == tf.float32
    return outputs[:count], dict(zip(looking.names, values.numpy().tolist(), strict=True))


def images_for(model, count=3):
    return np.random.default_rng(0).normal(size=(count, *model.input_shape[1:])).astype(np.float32)


@pytest.mark.parametrize(
    "name, size, overrides",
    [
        ("lenet5", 16, {}),
        ("nin_cifar", 32, {}),
        ("resnet20_cifar", 8, {"rematerialize": True}),
        ("mobilenet_v2_035", 32, {}),
        ("mobilenet_v3_small", 32, {}),
        ("efficientnet_b0", 32, {}),
        ("densenet_bc100_cifar", 8, {"depths": (2, 2, 2)}),
        ("googlenet", 32, {"include_aux": True}),
        ("ecaresnet50d", 32, {"depths": (1, 1, 1, 1)}),
    ],
)
def test_every_kernel_and_every_activation_is_found_and_measured(name, size, overrides):
    model = create_model(name, input_shape=(size, size, 3), num_classes=10, **overrides)
    random = np.random.default_rng(1)
    for variable in model.trainable_variables:  # biases and shifts that are not zero, too
        variable.assign(variable + 0.1 * random.normal(size=variable.shape))
    looking, images = Probe(model), images_for(model)
    outputs, figures = looked_at(looking, model, images, training=False)

    kernels, activations = {}, []
    for layer in model.layers:  # by its class, where the probe goes by names
        if isinstance(layer, WITH_KERNELS):
            kernels[layer.name] = layer.kernel
        elif isinstance(layer, keras.layers.Activation):
            activations.append(layer)
    plain, *befores = keras.Model(model.input, [model.output, *(layer.input for layer in activations)])(images)
    for output, expected in zip(outputs, keras.tree.flatten(plain), strict=True):
        np.testing.assert_array_equal(output, expected)

    expected = {"gradient_norm": np.sqrt(sum(np.prod(variable.shape) for variable in model.trainable_variables))}
    for layer, kernel in kernels.items():
        size = np.prod(kernel.shape)
        expected[f"gradient_norm/{layer}"] = np.sqrt(size)
        expected[f"update_ratio/{layer}"] = 0.5 * np.sqrt(size) / np.linalg.norm(kernel.numpy().astype(np.float64))
    for layer, before in zip(activations, befores, strict=True):
        function = layer.activation.__name__
        after = FUNCTIONS[function](before.numpy().astype(np.float64))
        expected[f"activation_mean/{layer.name}"] = after.mean()
        expected[f"activation_std/{layer.name}"] = after.std()
        if function in CAN_DIE:
            expected[f"dead_share/{layer.name}"] = (after == 0).all(axis=tuple(range(after.ndim - 1))).mean()
    assert set(looking.names) == set(expected) and len(looking.names) == len(expected)
    assert len(kernels) >= 5 and len(activations) >= 4
    for figure, value in expected.items():
        assert figures[figure] == pytest.approx(value, rel=1e-4, abs=1e-5), figure


def small(*, bias=0.0, dtype=None, activation="relu"):
    x = inputs = keras.Input([6, 6, 2])
    x = keras.layers.Conv2D(8, 3, bias_initializer=keras.initializers.Constant(bias), name="conv", dtype=dtype)(x)
    x = keras.layers.Activation(activation, name="act", dtype=dtype)(x)
    x = keras.layers.Dropout(0.5, seed=0, name="dropout", dtype=dtype)(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(4, name="logits", dtype=dtype)(x))


def train_step(model, looking, optimizer, images):
    """As a step is to be looked at; gives gradients and statistics."""
    before = [tf.identity(variable) for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        outputs = looking.model(images, training=True)
        loss = tf.reduce_mean(tf.square(tf.cast(outputs[0], tf.float32)))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    after = [tf.identity(variable) for variable in model.trainable_variables]
    return gradients, looking.statistics(outputs[1:], gradients, before, after)


@pytest.mark.parametrize("jit", [False, True])
def test_a_compiled_step(jit):
    keras.utils.set_random_seed(0)
    model = small()
    looking, optimizer = Probe(model), keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(model.trainable_variables)
    images = tf.constant(images_for(model))
    step = tf.function(lambda images: train_step(model, looking, optimizer, images), jit_compile=jit)
    for _ in range(3):
        before = [variable.numpy() for variable in model.trainable_variables]
        gradients, values = step(images)
        after = [variable.numpy() for variable in model.trainable_variables]
        figures = dict(zip(looking.names, values.numpy(), strict=True))
        norms = [np.linalg.norm(gradient.numpy()) for gradient in gradients]
        assert figures["gradient_norm"] == pytest.approx(np.linalg.norm(norms), rel=1e-5)
        for layer, i in (("conv", 0), ("logits", 2)):
            change = np.linalg.norm(after[i] - before[i])
            assert change > 0
            assert figures[f"gradient_norm/{layer}"] == pytest.approx(norms[i], rel=1e-5)
            assert figures[f"update_ratio/{layer}"] == pytest.approx(change / np.linalg.norm(before[i]), rel=1e-4)


def test_looking_changes_nothing():
    """Draws of dropout, running averages and weights are those of steps that nobody looks at."""
    finals = []
    for looks in (False, True):
        keras.utils.set_random_seed(0)
        model = create_model(
            "resnet20_cifar", input_shape=(8, 8, 1), depths=(1, 1, 1), drop_path=0.2, rematerialize=True
        )
        runs = Probe(model).model if looks else model

        @tf.function
        def step(images, runs=runs, model=model):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(keras.tree.flatten(runs(images, training=True))[0]))
            for variable, gradient in zip(
                model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
            ):
                variable.assign_sub(0.1 * gradient)

        for _ in range(2):
            step(tf.constant(images_for(model, 8)))
        finals.append([variable.numpy() for variable in model.variables])
    for plain, looked in zip(*finals, strict=True):
        np.testing.assert_allclose(plain, looked, rtol=1e-4, atol=1e-6)


def test_dead_units():
    model = small(bias=-1e4)
    figures = looked_at(Probe(model), model, images_for(model))[1]
    assert figures["dead_share/act"] == 1 and figures["activation_mean/act"] == figures["activation_std/act"] == 0
    bias = model.get_layer("conv").bias
    bias.assign(np.where(np.arange(8) < 3, -1e4, 1e4))
    images = images_for(model)
    assert looked_at(Probe(model), model, images)[1]["dead_share/act"] == pytest.approx(3 / 8)
    kernel = model.get_layer("conv").kernel
    kernel.assign(np.full(kernel.shape, 2e4))
    images[:] = 0
    images[1, 3, 3] = 1  # one pixel of one example wakes all of them
    assert looked_at(Probe(model), model, images)[1]["dead_share/act"] == 0


@pytest.mark.parametrize("dtype", ["float64", "mixed_bfloat16", "mixed_float16"])
def test_any_precision_gives_float32(dtype):
    model = small(dtype=dtype, bias=300.0)  # whose square is beyond float16
    images = images_for(model)
    looking = Probe(model)
    outputs = looking.model(images)
    values = [tf.identity(variable) for variable in model.trainable_variables]
    assert outputs[1].dtype != tf.float32
    figures = looking.statistics(outputs[1:], [1e3 * value for value in values], values, [1.5 * v for v in values])
    assert figures.dtype == tf.float32
    figures = dict(zip(looking.names, figures.numpy(), strict=True))
    activations = outputs[1].numpy().astype(np.float64)
    assert figures["activation_mean/act"] == pytest.approx(activations.mean(), rel=1e-5)
    assert figures["activation_std/act"] == pytest.approx(activations.std(), rel=1e-4)
    assert figures["update_ratio/conv"] == pytest.approx(0.5, rel=1e-6)


def test_activations_in_any_form():
    x = inputs = keras.Input([4])
    x = keras.layers.Dense(4, activation="relu", name="inside")(x)
    x = keras.layers.Dense(4, name="linear")(x)
    x = keras.layers.ReLU(name="layer")(x)
    x = keras.layers.ReLU(negative_slope=0.1, name="leaky")(x)
    x = keras.layers.LeakyReLU(name="leaky2")(x)
    x = keras.layers.PReLU(name="prelu")(x)
    x = keras.layers.Activation("linear", name="nothing")(x)
    x = keras.ops.relu6(x)
    x = keras.ops.tanh(x)
    x = keras.layers.Activation(lambda x: 2 * x, name="unknown")(x)
    x = keras.layers.Dense(3, activation="hard_swish", name="last")(x)
    model = keras.Model(inputs, x)
    figures = looked_at(Probe(model), model, images_for(model))[1]
    found = ["inside", "layer", "leaky", "leaky2", "prelu", "relu6", "tanh", "last"]
    assert [name.partition("/")[2] for name in figures if name.startswith("activation_mean/")] == found
    assert [name.partition("/")[2] for name in figures if name.startswith("dead_share/")] == [
        "inside", "layer", "relu6", "last",
    ]  # fmt: skip
    maxout = create_model("lenet5", input_shape=(16, 16, 1), activation="maxout")
    assert sum(name.startswith("activation_mean/") for name in Probe(maxout).names) == 4


def test_kernels_that_are_frozen_or_zero_or_without_a_gradient():
    model = small()
    model.get_layer("conv").trainable = False
    looking = Probe(model)
    assert [name for name in looking.names if name.startswith("update")] == ["update_ratio/logits"]
    zeros, ones = ([make(variable.shape) for variable in model.trainable_variables] for make in (tf.zeros, tf.ones))
    figures = looking.statistics([tf.ones([2, 3])], [None, tf.ones([4])], zeros, ones)
    figures = dict(zip(looking.names, figures.numpy().tolist(), strict=True))
    assert figures["gradient_norm"] == 2 and figures["gradient_norm/logits"] == 0
    assert figures["update_ratio/logits"] == np.inf


def test_models_within_models_are_refused():
    inputs = keras.Input([6, 6, 2])
    with pytest.raises(ValueError, match=r"outer: its layer \w+ is a model\. Set --watch_every=0"):
        Probe(keras.Model(inputs, keras.models.clone_model(small())(inputs), name="outer"))


# The file


NAMES = ("gradient_norm", "update_ratio/conv")


def test_rows_come_back_up_to_a_step(tmp_path):
    path = tmp_path / "watch.csv"
    rows = [[10, 1.5, 1e-3], [20, 0.25, np.inf], [30, np.nan, 2e-9]]
    for step, *values in rows:
        probe.append_row(path, NAMES, step, np.array(values, np.float32))
    assert path.read_text() == ("step,gradient_norm,update_ratio/conv\n10,1.5,0.001\n20,0.25,inf\n30,nan,2e-09\n")
    names, found = probe.read_rows(path, 30)
    assert names == NAMES
    np.testing.assert_array_equal(found, rows)
    names, found = probe.read_rows(path, 29)
    probe.write_rows(path, names, found)
    probe.append_row(path, NAMES, 1_000_000_030, [1, 2])
    assert path.read_text().splitlines()[1:] == ["10,1.5,0.001", "20,0.25,inf", "1000000030,1,2"]
    assert [path.name for path in tmp_path.iterdir()] == ["watch.csv"]
    assert probe.read_rows(path, 5)[1].shape == (0, 3)


def test_a_line_that_a_kill_left_unfinished_is_left_out(tmp_path):
    path = tmp_path / "watch.csv"
    for step in (10, 20):
        probe.append_row(path, NAMES, step, [1, 2])
    whole = path.read_bytes()
    for end in range(len(b"step,gradient_norm,update_ratio/conv\n"), len(whole) + 1):
        path.write_bytes(whole[:end])
        assert probe.read_rows(path, 30)[1][:, 0].tolist() == [10, 20][: whole[:end].count(b"\n") - 1]


@pytest.mark.parametrize("content", ["", "\n", "epoch,loss\n1,2\n", "step,a\n1\n", "step,a\n1,two\n", "\0\xff\n"])
def test_another_file_is_refused(content, tmp_path):
    path = tmp_path / "watch.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"watch.csv is not what a run writes .*: mend it, or delete it"):
        probe.read_rows(path, 1)


def test_a_file_with_other_columns_is_not_added_to(tmp_path):
    path = tmp_path / "watch.csv"
    probe.append_row(path, NAMES, 10, [1, 2])
    with pytest.raises(ValueError, match=r"watch.csv has other columns than this run"):
        probe.append_row(path, NAMES[:1], 20, [1])
    assert path.read_text().count("\n") == 2


def test_tensorboard_has_each_number(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path))
    for step in (10, 20):
        probe.to_tensorboard(writer, NAMES, step, np.array([step + 0.5, 1e-3], np.float32))
    (path,) = tmp_path.iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            found[event.step, value.tag] = float(tf.make_ndarray(value.tensor))
    assert found == pytest.approx(
        {(10, NAMES[0]): 10.5, (10, NAMES[1]): 1e-3, (20, NAMES[0]): 20.5, (20, NAMES[1]): 1e-3}
    )
