import pathlib
import subprocess
import sys

import pytest

import kerascnn

ROOT = pathlib.Path(__file__).parent.parent


def python(code):
    """Runs code in a fresh process, and returns what it printed on stdout and on stderr."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_import_is_silent_and_light():
    heavy = "{'keras', 'tensorflow', 'numpy', 'jax', 'h5py'}"
    # Submodules need no import of their own.
    code = f"import kerascnn, sys; dir(kerascnn), kerascnn.registry.Spec; assert not {heavy} & set(sys.modules)"
    assert python(code) == ("", "")


def test_import_costs_little_over_keras():
    code = """
import time
start = time.process_time()
import keras
theirs = time.process_time()
import kerascnn
kerascnn.create_model
print(theirs - start, time.process_time() - theirs)"""
    keras_alone, ours = map(float, python(code)[0].split())
    # A share, which is the same on a machine that is slow or busy: 0.2 seconds where Keras takes three.
    assert ours < keras_alone / 15


@pytest.mark.parametrize("name", ["create_model", "list_models", "model_info", "load_model", "complexity"])
def test_public_names(name):
    assert {name, "models", "weights", "__version__"} <= set(dir(kerascnn))
    assert getattr(kerascnn, name).__doc__


def test_a_wrong_attribute_offers_the_close_ones():
    with pytest.raises(AttributeError, match="'kerascnn' has no attribute 'creat_model': did you mean create_model"):
        kerascnn.creat_model  # noqa: B018
    with pytest.raises(ImportError, match="did you mean create_model"):
        from kerascnn import creat_model  # noqa: F401
    assert not hasattr(kerascnn, "creat_model")
    assert not hasattr(kerascnn, "__wrapped__")
