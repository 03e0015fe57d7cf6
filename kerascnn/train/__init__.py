"""Recipes and the loop that trains them. TensorFlow is imported when training begins, not before."""

from typing import TYPE_CHECKING

from kerascnn.train.recipe import Recipe as Recipe
from kerascnn.train.recipe import main as main

if TYPE_CHECKING:
    from kerascnn.train.loop import run as run


def __getattr__(name):
    if name == "run":
        from kerascnn.train.loop import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
