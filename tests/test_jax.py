"""The backend-agnostic modules on JAX: they import, and the small models give the golden logits and train."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from kerascnn import registry
from tools import golden

NAMES = golden.quick()
# Each takes seconds to compile: by default those that have operations, or layers of ours, that no other has.
QUICK = {
    "lenet5", "plain20_cifar", "resnet10", "airbench94", "regnet_x_200mf", "nf_resnet26", "shufflenet_v2_x0_5",
    "mobilenet_v3_small_075", "inception_next_atto",
}  # fmt: skip
COSTLY = {*NAMES} - QUICK
TRAINED = ["lenet5", "resnet20_cifar"]

CODE = """
import json, sys
import jax, keras, numpy as np
assert keras.backend.backend() == "jax"

import kerascnn
from kerascnn import blocks, counting, initializers, layers, models, registry, weights
from tools import golden

def logits(model):
    state = [[v.value for v in variables] for variables in (model.trainable_variables, model.non_trainable_variables)]
    images = golden.images(model.input_shape[1:])
    return jax.jit(lambda state: model.stateless_call(*state, images)[0])(state)

def losses(model):
    images, fixed = golden.images(model.input_shape[1:]), [v.value for v in model.non_trainable_variables]
    def loss(trainable):
        y, _ = model.stateless_call(trainable, fixed, images, training=True)
        return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(np.array([0, 1]), y, from_logits=True))
    step = jax.jit(jax.value_and_grad(loss))
    trainable = [v.value for v in model.trainable_variables]
    before, gradients = step(trainable)
    after, _ = step([value - 1e-3 * gradient for value, gradient in zip(trainable, gradients)])
    return float(before), float(after)

results = {}
for name in json.loads(sys.argv[2]):  # every weight is filled: drawing it first would take most of the time
    model = golden.fill(kerascnn.create_model(name, input_shape=golden.small(name), initializer="zeros"))
    results[name] = {"logits": logits(model)[:, :16].tolist(), "params": kerascnn.complexity(model).params}
for name in json.loads(sys.argv[3]):
    results.setdefault(name, {})["losses"] = losses(kerascnn.create_model(name))

dropped = layers.DropPath(0.5, seed=1)(np.ones((64, 2, 2, 1), "float32"), training=True)
results["dropped"] = sorted(set(np.ravel(dropped).tolist()))

drop = dict(drop_path=0.2, drop_block=0.2, dropout=0.1, drop_connect=0.1)
noisy = kerascnn.create_model("resnet18", input_shape=(64, 64, 3), fractional_pool=1.5, rematerialize=True, **drop)
state = [[v.value for v in variables] for variables in (noisy.trainable_variables, noisy.non_trainable_variables)]
step = jax.jit(lambda state: noisy.stateless_call(*state, golden.images((64, 64, 3)), training=True))
first, after = step(state)
second, _ = step([state[0], after])
results["noisy"] = [bool(np.isfinite(first).all()), bool((first != second).any())]

switches = dict(drop_path=0.2, dropout=0.1, norm="group", activation="prelu")
kerascnn.create_model("resnet20_cifar", depths=(1, 1, 1), **switches).save(sys.argv[1])
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return results(sorted(QUICK), tmp_path_factory)


@pytest.fixture(scope="module")
def costly_run(tmp_path_factory):
    return results(sorted(COSTLY), tmp_path_factory)


def results(names, tmp_path_factory):
    path = tmp_path_factory.mktemp("jax") / "model.keras"
    root = pathlib.Path(__file__).parent.parent
    command = [sys.executable, "-c", CODE, path, json.dumps(names), json.dumps(TRAINED)]
    # Compiling takes most of the time, and is not what is tested.
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    environment = os.environ | quick | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), path


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in COSTLY)) for n in NAMES])
def test_golden_logits(name, request):
    result = request.getfixturevalue("costly_run" if name in COSTLY else "run")[0][name]
    held = json.loads(golden.PATH.read_text())[name]
    assert np.abs(np.subtract(result["logits"], held["logits"])).max() <= 1e-4 * held["std"]
    assert result["params"] == registry.facts()[name]["params"]


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_downhill_lowers_the_loss(run, name):
    before, after = run[0][name]["losses"]
    assert after < before


def test_drop_path(run):
    assert run[0]["dropped"] == [0, 2]


def test_noise_is_finite_and_drawn_anew(run):
    assert run[0]["noisy"] == [True, True]


def test_a_model_saved_on_jax_loads_on_tensorflow(run):
    import kerascnn

    assert kerascnn.load_model(run[1])(golden.images((32, 32, 3))).shape == (2, 10)
