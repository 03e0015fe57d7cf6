"""A Keras 3 zoo of convolutional image classifiers, the recipes that train them, and the bundle that serves them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kerascnn import data as data
    from kerascnn import evaluate as evaluate
    from kerascnn import models as models
    from kerascnn import report as report
    from kerascnn import serve as serve
    from kerascnn import train as train
    from kerascnn import weights as weights
    from kerascnn.counting import complexity as complexity
    from kerascnn.models import create_model as create_model
    from kerascnn.models import list_models as list_models
    from kerascnn.models import load_model as load_model
    from kerascnn.models import model_info as model_info
    from kerascnn.stages import features as features

__version__ = "0.1.0"

_HOMES = {
    "complexity": "kerascnn.counting",
    "create_model": "kerascnn.models",
    "features": "kerascnn.stages",
    "list_models": "kerascnn.models",
    "load_model": "kerascnn.models",
    "model_info": "kerascnn.models",
}


def __getattr__(name):
    # Names and submodules are looked up on first use: the command line imports modules of ours to answer --help, and
    # must not wait for Keras and TensorFlow.
    import importlib.util

    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if importlib.util.find_spec(f"kerascnn.{name}"):
        return importlib.import_module(f"kerascnn.{name}")
    from kerascnn.registry import no_attribute

    raise no_attribute("kerascnn", name, __dir__())


def __dir__():
    import pkgutil

    dunders = (name for name in globals() if name.startswith("__"))
    return sorted([*dunders, *_HOMES, *(module.name for module in pkgutil.iter_modules(__path__))])
