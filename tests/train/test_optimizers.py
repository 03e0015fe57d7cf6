"""Every optimizer against formulas in NumPy and PyTorch's numbers; decay; and the update on two replicas."""

import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerascnn import create_model
from kerascnn.train.optimizers import OPTIMIZERS, Update

RATES = [0.1, 0.2, 0.2, 0.05, 0.1]


def small_model(dtype="float64"):
    """A dense layer, its norm and a classifier: two kernels, a scale, three biases."""
    x = inputs = keras.Input([3], dtype=dtype)
    x = keras.layers.Dense(4, dtype=dtype, name="dense1")(x)
    x = keras.layers.BatchNormalization(dtype=dtype, name="norm1")(x)
    x = keras.layers.Activation("relu", dtype=dtype, name="act1")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, dtype=dtype, name="logits")(x))
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    return model


def weights(model):
    return [variable.numpy() for variable in model.trainable_variables]


def random_gradients(model, steps):
    """With ever smaller numbers, so that the largest second moment is not the newest."""
    random = np.random.default_rng(1)
    return [[random.normal(size=v.shape) / (t + 1) for v in model.trainable_variables] for t in range(steps)]


# One step of one weight: (weight, gradient, state, rate, step from 1 on) -> the new weight. `state` begins empty.


def sgd(w, g, s, rate, t):
    return w - rate * g


def momentum(w, g, s, rate, t, m=0.8):
    s["v"] = m * s.get("v", 0) - rate * g
    return w + s["v"]


def nesterov(w, g, s, rate, t, m=0.8):
    s["v"] = m * s.get("v", 0) - rate * g
    return w + m * s["v"] - rate * g


def adagrad(w, g, s, rate, t):
    s["sum"] = s.get("sum", 0.3) + g**2
    return w - rate * g / np.sqrt(s["sum"] + 1e-3)


def adadelta(w, g, s, rate, t, rho=0.7, e=1e-3):
    s["g"] = rho * s.get("g", 0) + (1 - rho) * g**2
    delta = np.sqrt(s.get("d", 0) + e) / np.sqrt(s["g"] + e) * g
    s["d"] = rho * s.get("d", 0) + (1 - rho) * delta**2
    return w - rate * delta


def rmsprop(w, g, s, rate, t, rho=0.7, m=0.8, e=1e-3, first=0.0, centered=False):
    s["s"] = rho * s.get("s", first) + (1 - rho) * g**2
    s["g"] = rho * s.get("g", 0) + (1 - rho) * g
    s["v"] = m * s.get("v", 0) + rate * g / np.sqrt(s["s"] - (s["g"] ** 2 if centered else 0) + e)
    return w - s["v"]


def rmsprop_centered(w, g, s, rate, t):
    return rmsprop(w, g, s, rate, t, centered=True)


def rmsprop_tf(w, g, s, rate, t):
    return rmsprop(w, g, s, rate, t, first=1.0)


def adam_step(g, s, t, e, amsgrad=False, b1=0.8, b2=0.6):
    """With epsilon added to the corrected root."""
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g**2
    s["max"] = np.maximum(s.get("max", 0), s["v"])
    corrected = s["max" if amsgrad else "v"] / (1 - b2**t)
    return s["m"] / (1 - b1**t) / (np.sqrt(corrected) + e)


def adam(w, g, s, rate, t, amsgrad=False):
    return w - rate * adam_step(g, s, t, 1e-3 / np.sqrt(1 - 0.6**t), amsgrad)


def adam_amsgrad(w, g, s, rate, t):
    return adam(w, g, s, rate, t, amsgrad=True)


def lamb(w, g, s, rate, t):
    step = adam_step(g, s, t, 1e-3)
    return w - rate * step * np.linalg.norm(w) / np.linalg.norm(step)


def lion(w, g, s, rate, t, b1=0.8, b2=0.6):
    step = np.sign(b1 * s.get("m", 0) + (1 - b1) * g)
    s["m"] = b2 * s.get("m", 0) + (1 - b2) * g
    return w - rate * step


REFERENCES = {
    "sgd": sgd,
    "momentum(momentum=0.8)": momentum,
    "nesterov(momentum=0.8)": nesterov,
    "adagrad(initial=0.3, epsilon=1e-3)": adagrad,
    "adadelta(rho=0.7, epsilon=1e-3)": adadelta,
    "rmsprop(rho=0.7, momentum=0.8, epsilon=1e-3)": rmsprop,
    "rmsprop(rho=0.7, momentum=0.8, epsilon=1e-3, centered=True)": rmsprop_centered,
    "rmsprop_tf(rho=0.7, momentum=0.8, epsilon=1e-3)": rmsprop_tf,
    "adam(beta_1=0.8, beta_2=0.6, epsilon=1e-3)": adam,
    "adam(beta_1=0.8, beta_2=0.6, epsilon=1e-3, amsgrad=True)": adam_amsgrad,
    "adamw(beta_1=0.8, beta_2=0.6, epsilon=1e-3)": adam,
    "lamb(beta_1=0.8, beta_2=0.6, epsilon=1e-3)": lamb,
    "lion(beta_1=0.8, beta_2=0.6)": lion,
}


def test_every_optimizer_has_a_reference():
    assert {text.partition("(")[0] for text in REFERENCES} | {"lars"} == set(OPTIMIZERS)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("text", REFERENCES)
def test_five_steps_in_float64(text, decoupled):
    """To more digits than a float32 has: nothing on the way is one."""
    model, decay = small_model(), 0.1
    wanted, states = weights(model), [{} for _ in model.trainable_variables]
    update = Update(model, optimizer=text, weight_decay=decay, decoupled=decoupled)
    outside = decoupled or text.startswith(("adamw", "lamb", "lion"))
    for t, (rate, gradients) in enumerate(zip(RATES, random_gradients(model, 5), strict=True), 1):
        update([tf.constant(g) for g in gradients], rate)
        for i, (variable, g) in enumerate(zip(model.trainable_variables, gradients, strict=True)):
            own = decay if variable.name == "kernel" else 0
            w = wanted[i] * (1 - rate * own) if outside else wanted[i]
            g = g if outside else g + own * wanted[i]
            wanted[i] = REFERENCES[text](w, g, states[i], rate, t)
    for found, want in zip(weights(model), wanted, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("decay_all", [False, True])
def test_lars(decay_all):
    model, decay = small_model(), 0.1
    wanted, velocities = weights(model), [0.0] * 6
    update = Update(model, optimizer="lars(momentum=0.8, trust=0.02)", weight_decay=decay, decay_all=decay_all)
    for rate, gradients in zip(RATES, random_gradients(model, 5), strict=True):
        update([tf.constant(g) for g in gradients], rate)
        for i, (variable, g) in enumerate(zip(model.trainable_variables, gradients, strict=True)):
            kernel, w = variable.name == "kernel", wanted[i]
            own = decay if kernel or decay_all else 0
            size = np.linalg.norm(w)
            ratio = 0.02 * size / (np.linalg.norm(g) + own * size) if kernel else 1
            velocities[i] = 0.8 * velocities[i] + rate * ratio * (g + own * w)
            wanted[i] = w - velocities[i]
    for found, want in zip(weights(model), wanted, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("optimizer", ["lars", "lamb"])
def test_ratios_are_1_where_a_norm_is_0(optimizer):
    model = small_model()
    update = Update(model, optimizer=optimizer)
    kernel = model.get_layer("dense1").kernel
    kernel.assign(np.zeros([3, 4]))
    before = weights(model)
    update([tf.ones_like(v.value) if v is kernel else tf.zeros_like(v.value) for v in model.trainable_variables], 0.5)
    np.testing.assert_allclose(kernel.numpy(), np.full([3, 4], -0.5), rtol=1e-5)
    for found, want in zip(weights(model)[1:], before[1:], strict=True):
        np.testing.assert_array_equal(found, want)


def test_rmsprop_tf_is_tensorflows_own_kernel():
    model = small_model("float32")
    update = Update(model, optimizer="rmsprop_tf")
    theirs = [
        (tf.Variable(variable.value), tf.Variable(tf.ones(variable.shape)), tf.Variable(tf.zeros(variable.shape)))
        for variable in model.trainable_variables
    ]
    for rate, gradients in zip(RATES, random_gradients(model, 5), strict=True):
        gradients = [tf.constant(g, tf.float32) for g in gradients]
        update(gradients, rate)
        for (w, squares, velocity), gradient in zip(theirs, gradients, strict=True):
            tf.raw_ops.ResourceApplyRMSProp(
                var=w.handle, ms=squares.handle, mom=velocity.handle,
                lr=rate, rho=0.9, momentum=0.9, epsilon=1e-3, grad=gradient,
            )  # fmt: skip
    for found, (want, *_) in zip(weights(model), theirs, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


# The weights [0.5, -1, 2] after five steps of PyTorch 2.13.0 at a rate of 0.1 and weight decay 0.01 on the gradients
# sin(t), sin(2t), sin(3t), t from 1 to 5, in float64. Its epsilon stands elsewhere in most, so it is next to nothing.
TORCH = {
    "sgd": [0.4804499600479279, -1.0266722062713325, 1.951267536012361],
    "momentum": [0.03982887587416583, -1.155973336780439, 1.937403530765375],
    "nesterov": [0.0683287681216043, -1.1664114028141936, 1.8950492549365376],
    "adagrad(epsilon=1e-30)": [0.4282183070718265, -1.037144769099087, 1.9438437855537924],
    "adadelta(epsilon=1e-6)": [0.4999024010440058, -1.0000236031961214, 1.9992839205127684],
    "rmsprop(epsilon=1e-30, momentum=0.9)": [-1.1778356002975203, -1.6290684024309818, 1.150841708645714],
    "rmsprop(epsilon=1e-30, centered=True)": [0.2334731173822927, -1.1374791469474106, 1.6799284746274594],
    "adam(epsilon=1e-30)": [0.19586299027668685, -1.121250507927555, 1.8803637115117369],
    "adamw(epsilon=1e-30)": [0.1951422001027905, -1.1213461012234407, 1.8936687882429708],
}


@pytest.mark.parametrize("text", TORCH)
def test_as_pytorch(text):
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(1, use_bias=False, dtype="float64")])
    model.layers[0].kernel.assign([[0.5], [-1.0], [2.0]])
    update = Update(model, optimizer=text, weight_decay=0.01)
    for t in range(1, 6):
        update([tf.constant(np.sin(np.array([[1.0], [2.0], [3.0]]) * t))], 0.1)
    np.testing.assert_allclose(weights(model)[0][:, 0], TORCH[text], rtol=1e-9)


@pytest.mark.parametrize("decay_all", [False, True])
@pytest.mark.parametrize("decoupled", [False, True])
def test_decays(decoupled, decay_all):
    """Of every kind of weight in the zoo, by one step of plain SGD."""
    x = inputs = keras.Input([8, 8, 4])
    x = keras.layers.Conv2D(4, 3, name="stage1_conv1")(x)
    x = keras.layers.DepthwiseConv2D(3, name="stage1_conv2")(x)
    x = keras.layers.BatchNormalization(name="stage1_norm2")(x)
    x = keras.layers.PReLU(name="stage1_act2")(x)
    x = keras.layers.SeparableConv2D(4, 3, name="stage1_conv3")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="logits")(x))
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    before = weights(model)
    update = Update(
        model, optimizer="sgd", weight_decay=0.3, l1=0.2, decoupled=decoupled, decay_all=decay_all, layer_decay=0.5
    )
    update([tf.ones_like(variable.value) for variable in model.trainable_variables], 0.1)
    decayed = []
    for variable, old in zip(model.trainable_variables, before, strict=True):
        depth = {"logits": 0, "stage1_conv3": 1, "stage1_conv1": 3}.get(variable.path.split("/")[0], 2)
        rate = 0.1 * 0.5**depth
        if decay_all or "kernel" in variable.name:
            decayed.append(variable.name)
            sign = np.sign(old * (1 - rate * 0.3) if decoupled else old)
            wanted = old - rate * (1 + 0.3 * old + 0.2 * sign)
        else:
            wanted = old - rate
        np.testing.assert_allclose(variable.numpy(), wanted, rtol=1e-5, atol=1e-6)
    kernels = ["kernel", "kernel", "depthwise_kernel", "pointwise_kernel", "kernel"]
    assert len(decayed) == 12 if decay_all else decayed == kernels


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(name, marks=() if name in ("nesterov", "adamw", "lars") else pytest.mark.slow)
        for name in OPTIMIZERS
    ],
)
def test_a_step_as_xla_compiles_it_is_the_step_itself(optimizer):
    """Under OneDeviceStrategy, in a loop that is a function itself, as training runs it."""
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    inputs = tf.constant(np.random.default_rng(2).normal(size=[16, 3]), tf.float32)
    results = []
    for jit_compile in (True, False):
        with strategy.scope():
            model = small_model("float32")
            update = Update(
                model, optimizer=optimizer, weight_decay=0.01, l1=0.01, clip="agc", layer_decay=0.9,
                dynamic_scale=optimizer == "adam",
            )  # fmt: skip

        def step(rate, model=model, update=update):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(model(inputs) ** 2) * update.loss_scale.scale
            return update(tape.gradient(loss, model.trainable_variables), rate)

        compiled = tf.function(step, jit_compile=True) if jit_compile else step

        def train(rates, compiled=compiled):
            for rate in rates:
                summed = strategy.run(compiled, (rate,))
            return summed

        before = weights(model)
        rates = tf.constant(RATES[:3]) / 10
        summed = tf.function(train)(rates) if jit_compile else train(rates)
        results.append([*weights(model), *summed])
        for old, new in zip(before, weights(model), strict=True):
            assert np.abs(new - old).max() > 0 and np.isfinite(new).all()
        assert update.optimizer.iterations.numpy() == 3
    for compiled, eager in zip(*results, strict=True):
        np.testing.assert_allclose(compiled, eager, rtol=1e-4, atol=1e-5)


def test_gradients_are_returned_as_they_were_before_clipping_and_decay():
    model = small_model()
    update = Update(model, clip="global_norm(limit=0.1)", weight_decay=0.5, dynamic_scale=True)
    (gradients,) = random_gradients(model, 1)
    summed = update([tf.constant(g * 2**15) for g in gradients], 0.1)
    for found, want in zip(summed, gradients, strict=True):
        np.testing.assert_array_equal(found, want)


def test_what_a_checkpoint_holds_goes_on_where_it_stopped():
    def made():
        model = create_model("resnet20_cifar")
        return model, Update(model, optimizer="adam", dynamic_scale=True)

    (first, update), (second, other) = made(), made()
    assert list(update.variables) == list(other.variables)
    assert len(update.variables) == 1 + 2 * len(first.trainable_variables) + 2
    assert {"optimizer/iteration", "optimizer/stem_conv_kernel_momentum", "loss_scale/scale"} < set(update.variables)
    random = np.random.default_rng(0)
    gradients = [tf.constant(random.normal(size=v.shape), tf.float32) for v in first.trainable_variables]
    update(gradients, 0.1)
    second.set_weights(first.get_weights())
    for name, variable in other.variables.items():
        variable.assign(update.variables[name].numpy())
    for one in (update, other):
        one(gradients, 0.1)
    for found, want in zip(second.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "adamm"}, "optimizer: there is no 'adamm': did you mean adam"),
        ({"optimizer": ""}, "optimizer='': one is wanted"),
        ({"optimizer": "sgd, adam"}, "optimizer='sgd, adam': one is wanted"),
        ({"optimizer": "sgd(momentum=0.9)"}, "sgd has no parameter 'momentum'"),
        ({"optimizer": "momentum(momentum=1)"}, "momentum(momentum=1): from 0 on and below 1 is wanted."),
        ({"optimizer": "adam(epsilon=0)"}, "adam(epsilon=0): above 0 is wanted."),
        ({"optimizer": "adagrad(initial=-1)"}, "adagrad(initial=-1): 0 or more is wanted."),
        ({"optimizer": "lion(beta_1=0)"}, "lion(beta_1=0): above 0 and below 1 is wanted."),
        ({"optimizer": "lars", "decoupled": True}, "decoupled: lars has its weight decay inside"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
        ({"l1": -1.0}, "l1=-1.0"),
        ({"layer_decay": 0.0}, "layer_decay=0.0: above 0 and up to 1."),
        ({"clip": "nom"}, "clip: there is no 'nom'"),
    ],
)
def test_what_cannot_be_is_named(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Update(small_model(), **arguments)


def test_a_weight_without_gradient_is_named():
    model = small_model()
    gradients = [tf.ones_like(variable.value) for variable in model.trainable_variables]
    with pytest.raises(ValueError, match="the loss does not depend on norm1/gamma"):
        Update(model)(
            [None if v.name == "gamma" else g for v, g in zip(model.trainable_variables, gradients, strict=True)], 0.1
        )


TWO_REPLICAS = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
import numpy as np
from kerascnn.train.optimizers import Update

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def made(strategy, **arguments):
    with strategy.scope():
        model = keras.Sequential([keras.Input([3]), keras.layers.Dense(2, name="dense1")])
        update = Update(model, **arguments)
    for i, variable in enumerate(model.variables):
        variable.assign(np.cos(np.arange(np.prod(variable.shape)) + i).reshape(variable.shape))

    def step(inputs):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(inputs)) * update.loss_scale.scale
        return update(tape.gradient(loss, model.trainable_variables), 0.5)

    @tf.function
    def run(inputs):
        return strategy.run(step, (inputs,))

    return model, update, run

def same_on_both(*variables):
    for variable in variables:
        variable = variable.value if isinstance(variable, keras.Variable) else variable
        copies = strategy.experimental_local_results(variable)
        assert len(copies) == 2 and all(np.array_equal(copies[0], copy) for copy in copies), variable.name

def values(model, update):
    return [[v.numpy() for v in kind] for kind in (model.variables, update.optimizer.variables)]

# An overflow on one of them
model, update, run = made(strategy, optimizer="nesterov", dynamic_scale=True)
scale = update.loss_scale

def give(first, second):
    per_replica = strategy.experimental_distribute_values_from_function(
        lambda context: tf.fill([4, 3], [first, second][context.replica_id_in_sync_group]))
    summed = run(per_replica)
    same_on_both(*model.variables, *update.variables.values())
    return *values(model, update), strategy.experimental_local_results(summed[0])

start = [v.numpy() for v in model.variables]
weights, _, summed = give(1.0, 2.0)
# The sum over both replicas, unscaled: 4 rows of 1 and 4 rows of 2; Nesterov's first step is (1 + momentum) * rate.
np.testing.assert_allclose(start[0] - weights[0], np.full([3, 2], 1.9 * 0.5 * 12.0), rtol=1e-6)
for copy in summed:
    np.testing.assert_allclose(copy, np.full([3, 2], 12.0), rtol=1e-6)
assert scale.scale.numpy() == 2.0**15 and scale.good_steps.numpy() == 1

_, momenta, _ = give(1.0, 1.0)
weights = [v.numpy() for v in model.variables]
for bad in ((float("inf"), 1.0), (1.0, float("inf")), (1.0, float("nan"))):
    before = scale.scale.numpy()
    skipped, momenta_after, _ = give(*bad)
    for a, b in zip(weights + momenta, skipped + momenta_after, strict=True):
        np.testing.assert_array_equal(a, b)  # no weight, no momentum, no step counted
    assert scale.scale.numpy() == before / 2 and scale.good_steps.numpy() == 0
assert update.optimizer.iterations.numpy() == 2

scale.good_steps.assign(1999)
give(1.0, 1.0)
assert scale.scale.numpy() == 2.0**13 and scale.good_steps.numpy() == 0
print("all skipped")

# The same batch on one device and shared out
one_device = tf.distribute.OneDeviceStrategy("CPU:0")
batch = np.sin(np.arange(24)).reshape(8, 3).astype("float32")
shares = strategy.experimental_distribute_values_from_function(
    lambda context: tf.constant(np.split(batch, 2)[context.replica_id_in_sync_group]))
for optimizer, clip in (
    ("sgd", "global_norm(limit=0.5)"), ("momentum", "norm"), ("adam", "value(limit=0.1)"), ("lamb", "agc"),
    ("lars", "global_norm"), ("rmsprop_tf", "global_norm"),
):
    arguments = {"optimizer": optimizer, "clip": clip, "weight_decay": 0.1, "layer_decay": 0.9}
    model, update, run = made(strategy, **arguments)
    alone, update_alone, run_alone = made(one_device, **arguments)
    for _ in range(2):
        run(shares)
        run_alone(tf.constant(batch))
    same_on_both(*model.variables, *update.variables.values())
    for a, b in zip(sum(values(model, update), []), sum(values(alone, update_alone), []), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
print("as on one device")
"""


@pytest.fixture(scope="module")
def two_replicas():
    """What a process with two logical devices says."""
    return subprocess.run([sys.executable, "-c", TWO_REPLICAS], capture_output=True, text=True)


def test_an_overflow_on_one_replica_changes_nothing_on_any(two_replicas):
    assert two_replicas.stdout.startswith("all skipped\n"), two_replicas.stderr


def test_two_replicas_clip_and_decay_as_one_device(two_replicas):
    assert two_replicas.stdout.endswith("as on one device\n"), two_replicas.stderr
