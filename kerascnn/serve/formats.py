"""In which formats a model is written, which precisions each knows, and which of them are asked for.

This module needs neither TensorFlow nor any of the formats' own packages before one is used.
"""

import dataclasses
import importlib
import importlib.util
from collections.abc import Sequence
from types import ModuleType

from kerascnn.registry import close_names

EXTRA = "pip install 'kerascnn[formats]'"


@dataclasses.dataclass(frozen=True)
class Format:
    """A row of the table.

    Attributes:
      precisions: those that it knows, the default one first.
      file: where it lies in a version's folder; `{precision}` is to be filled in.
      module: of this package, with `convert(model, ...) -> bytes` for a folded model, and `predict(content, inputs)`,
        the logits of normalised images; None for the SavedModel, which `bundle.py` writes.
      packages: what has to be there to import, besides what kerascnn requires.
    """

    precisions: tuple[str, ...]
    file: str
    module: str | None = None
    packages: tuple[str, ...] = ()

    def path(self, precision: str) -> str:
        """Where the file of a precision lies in a version's folder."""
        return self.file.format(precision=precision)

    def load(self) -> ModuleType:
        """The module that converts and predicts."""
        return importlib.import_module(f"kerascnn.serve.{self.module}")


LITERT = ("ai_edge_litert",)
ONNX = ("tf2onnx", "onnx", "onnxruntime")

# fmt: off
FORMATS = {
    "savedmodel": Format(("float32", "bfloat16"),                   "saved_model.pb"),
    "litert":     Format(("float32", "float16", "dynamic", "int8"), "litert/{precision}.tflite", "litert", LITERT),
    "onnx":       Format(("float32",),                              "onnx/{precision}.onnx", "onnx_format", ONNX),
}
# fmt: on

# The least share of images that must keep the best class they had, by precision, unless another one is asked for. An
# image changes its class where two are nearer to each other than rounding moves them: float32 moves a logit by 1e-5 of
# their standard deviation, float16 by 1e-3, bfloat16 by 1e-2, and integers of 8 bits by 1e-1.
MIN_AGREEMENT = {"float32": 0.999, "float16": 0.99, "bfloat16": 0.98, "dynamic": 0.95, "int8": 0.95}
# The least of the others on made-up images, which no model was trained to tell apart: many lie between two classes.
MADE_UP_AGREEMENT = 0.8


def default_agreement(precision: str, made_up: bool = False) -> float:
    """The least share of images, made up or of a data set, that must keep their best class in a precision."""
    least = MIN_AGREEMENT[precision]
    return min(least, MADE_UP_AGREEMENT) if made_up and precision != "float32" else least


def plan(formats: Sequence[str], precisions: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The (format, precision) pairs to write: each format in those of the precisions that it knows.

    A format that knows none of them is written in its default one, float32.

    Args:
      formats: names from `FORMATS`, `savedmodel` among them: a version is a SavedModel first.
      precisions: names such as `float32` and `int8`; none means the default of each format.

    Raises:
      ValueError: an unknown name, no or more than one SavedModel, a precision that none of these formats knows, or the
        packages of a format are not installed.
    """
    formats, precisions = list(dict.fromkeys(formats)), list(dict.fromkeys(precisions))
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"no format {name!r}: {close_names(name, FORMATS)}")
    if "savedmodel" not in formats:
        raise ValueError("savedmodel must be among the formats: a version of a bundle is a SavedModel first.")
    for precision in precisions:
        if precision not in MIN_AGREEMENT:
            raise ValueError(f"no precision {precision!r}: {close_names(precision, MIN_AGREEMENT)}")
        knowing = [name for name, row in FORMATS.items() if precision in row.precisions]
        if not set(knowing) & set(formats):
            raise ValueError(f"{' and '.join(formats)} know no {precision}: add {' or '.join(knowing)} to the formats.")
    pairs = []
    for name in formats:
        row = FORMATS[name]
        known = [precision for precision in precisions if precision in row.precisions] or [row.precisions[0]]
        pairs += [(name, precision) for precision in known]
        if name == "savedmodel" and len(known) > 1:
            raise ValueError(f"a version has one SavedModel: choose {' or '.join(known)} for it.")
        require(name)
    return pairs


def require(name: str) -> None:
    """Raises a ValueError with the command that installs what a format needs, where something is missing."""
    missing = [package for package in FORMATS[name].packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ValueError(f"the format {name} needs {', '.join(missing)}: {EXTRA}")
