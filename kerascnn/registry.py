"""The models by name, what can be set on each, and how a wrong name is answered.

The families put their variants here when `kerascnn.models` is imported. This is the only global state of the package.
"""

import dataclasses
import difflib
import fnmatch
import functools
import inspect
import json
import math
import numbers
import pathlib
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple


class Limits(NamedTuple):
    """What a number may be: from `low` on, and below `high`."""

    low: float
    high: float = math.inf

    def __str__(self) -> str:
        return f"{self.low:g} or more" + (f", and less than {self.high:g}" if self.high < math.inf else "")


Classes = Annotated[int, Limits(0)]
Size = Annotated[int, Limits(1)]
Side = Annotated[int | None, Limits(1)]
Shape = tuple[Side, Side, Size]
Rate = Annotated[float, Limits(0, 1)]
Epsilon = Annotated[float, Limits(0)]
Norm = Literal["batch", "group", "layer", "channel", "instance", "none"]
Ratio = Annotated[float | None, Limits(1, 2)]
Activation = Literal[
    "relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "gelu", "silu", "softplus", "sigmoid", "tanh", "hard_swish",
    "maxout",
]  # fmt: skip
Initializer = Literal[
    "he_normal", "he_normal_fan_out", "glorot_uniform", "glorot_normal", "lecun_normal", "small_normal", "large_normal",
    "transformer_normal", "zeros",
]  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """What every family lets its user set; a family adds its own fields. A wrong type or value is a ValueError.

    `rematerialize` lets training keep few activations and compute the others again, which saves memory and costs time;
    see `kerascnn.classifier`. The meaning of the conventions, from `drop_connect` on, is written where they are kept:
    in `kerascnn.blocks`. Fields that several families have, and that mean the same in each:

    depths, widths      the blocks of each stage, and their channels; where there are both, one for each
    zero_init_residual  the last norm of a residual branch starts at zero, so that the block starts as its shortcut
    drop_path           stochastic depth (https://arxiv.org/abs/1603.09382): the rate of the last block; linear before
    drop_block          DropBlock (https://arxiv.org/abs/1810.12890): its rate in the last two stages
    fractional_pool     the ratio, such as 1.41, by which fractional max pooling (https://arxiv.org/abs/1412.6071)
                        shrinks an image wherever max pooling would halve it
    include_aux         auxiliary classifiers, for training: the model gives a list, its own logits first
    output_stride       8 or 16 keeps the last stages larger, and dilates their convolutions in place of strides
    """

    num_classes: Classes = 1000
    input_shape: Shape = (224, 224, 3)
    pooling: Literal["avg", "max", "catavgmax", None] = "avg"
    dropout: Rate = 0.0
    rematerialize: bool = False
    drop_connect: Rate = 0.0
    activation: Activation = "relu"
    norm: Norm = "batch"
    initializer: Initializer = "he_normal"
    padding: Literal["symmetric", "same"] = "symmetric"
    bn_momentum: Rate = 0.9
    bn_epsilon: Epsilon = 1e-5
    bn_scale: bool = True
    conv_bias: bool = False

    @property
    def min_size(self) -> int:
        """The least height and width, in pixels, that the model can take."""
        return 1

    def __post_init__(self) -> None:
        hints = _hints(type(self))  # type: ignore[arg-type]  # a class is hashable
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is field.default:  # as most are, of all rows, at each import
                continue
            try:
                object.__setattr__(self, field.name, _fit(value, hints[field.name]))
            except TypeError:
                hint = typing.get_type_hints(type(self))[field.name]
                raise ValueError(f"{field.name} must be {_phrase(hint, value)}") from None
            except ValueError as error:
                raise ValueError(f"{field.name} must be {error}, not {value!r}") from None
        depths, widths = getattr(self, "depths", None), getattr(self, "widths", None)
        if depths is not None and widths is not None and len(depths) != len(widths):
            raise ValueError(f"widths must be {len(depths)} numbers, one for each of depths")
        if getattr(self, "include_aux", False) and not self.num_classes:
            raise ValueError("include_aux=True adds classifiers, and num_classes=0 leaves none: set include_aux=False")
        if self.pooling is None and self.num_classes:
            raise ValueError("pooling=None gives the feature map, which has no classes: set num_classes=0 too")
        if min(self.input_shape[0] or math.inf, self.input_shape[1] or math.inf) < self.min_size:
            height, width, _ = self.input_shape
            raise ValueError(f"images must be {self.min_size}x{self.min_size} or larger, not {height}x{width}")


@dataclasses.dataclass(frozen=True)
class Variant:
    """A registered model: its row of the family's table, and the functions that build it.

    `build(spec, image)` gives the feature map, and `head(spec, feature_map)` the logits. `aliases` are what other
    libraries call it; `lookup` knows them, and no list has them.
    """

    name: str
    family: str
    paper: str
    spec: Spec
    build: Callable[..., Any]
    head: Callable[..., Any]
    aliases: tuple[str, ...] = ()


_VARIANTS: dict[str, Variant] = {}
_ALIASES: dict[str, str] = {}


def register(
    build: Callable[..., Any],
    head: Callable[..., Any],
    rows: Mapping[str, Spec],
    *,
    paper: str,
    aliases: Mapping[str, str] = types.MappingProxyType({}),
) -> None:
    """Adds the rows of a family's table: variants that `build` and `head` build, described in `paper` (an address).

    `aliases` are other libraries' names, with ours. The family is named after the module of `build`. A name that is
    taken is a ValueError.
    """
    family = build.__module__.rpartition(".")[2]
    for name in (*rows, *aliases):
        if name in _VARIANTS or name in _ALIASES:
            raise ValueError(f"the model {name} of {family} is registered already, by {lookup(name).family}")
    for name, spec in rows.items():
        also = tuple(alias for alias, ours in aliases.items() if ours == name)
        _VARIANTS[name] = Variant(name, family, paper, spec, build, head, also)
        _ALIASES.update(dict.fromkeys(also, name))


def list_models(pattern: str = "*") -> list[str]:
    """Returns the names of the models that match a shell pattern such as "resnet*_cifar", in the order of the zoo."""
    return fnmatch.filter(_VARIANTS, pattern)


def lookup(name: str) -> Variant:
    """Returns the variant of that name, or alias. An unknown name is a ValueError that offers the close ones."""
    ours = our_name(name)
    if ours not in _VARIANTS:
        raise ValueError(f"no model {name!r}: {close_names(name, [*_VARIANTS, *_ALIASES])}")
    return _VARIANTS[ours]


def our_name(name: str) -> str:
    """Returns our name where `name` is an alias of a model, else `name` itself."""
    return _ALIASES.get(name, name)


def override(variant: Variant, fields: Mapping[str, Any]) -> Spec:
    """Returns the variant's spec with other values in some fields.

    Lists are taken for tuples, as JSON gives them. An unknown field, a wrong type or a wrong value is a ValueError
    that says what to type instead.
    """
    known = [field.name for field in dataclasses.fields(variant.spec)]
    for name in fields:
        if name not in known:
            offer = close_names(name, known)
            rest = f" Its fields are {', '.join(known)}." if offer.endswith("?") else ""
            raise ValueError(f"{variant.name} has no field {name!r}: {offer}{rest}")
    try:
        return dataclasses.replace(variant.spec, **fields)
    except ValueError as error:
        raise ValueError(f"{variant.name}: {error}") from None


@functools.cache
def facts() -> Mapping[str, Mapping[str, Any]]:
    """Returns what is known of the models without importing or building them, by name. It is read once.

    Their family, paper, aliases, input_shape, num_classes, params, trainable_params, macs, stages (with their shapes),
    receptive_field and peak_memory, from models/facts.json, which `python -m tools.make_zoo` writes.
    """
    path = pathlib.Path(__file__).parent / "models/facts.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


@functools.cache
def our_names() -> dict[str, str]:
    """Returns the aliases in models/facts.json with the names that they stand for, likewise without the models."""
    return {alias: name for name, fact in facts().items() for alias in fact["aliases"]}


def differences(variant: Variant, spec: Spec) -> dict[str, Any]:
    """Returns the fields in which a spec differs from its variant's, as `override` takes them and JSON keeps them."""
    both = ((field.name, getattr(spec, field.name)) for field in dataclasses.fields(spec))
    return {name: _plain(value) for name, value in both if value != getattr(variant.spec, name)}


def close_names(word: object, names: Iterable[str]) -> str:
    """Phrases the offer that follows an unknown word: "did you mean a, b or c?", or all names where none is close."""
    by_lower = {name.lower(): name for name in names}
    if close := difflib.get_close_matches(str(word).lower(), by_lower):
        return f"did you mean {_alternatives([by_lower[name] for name in close])}?"
    first = list(by_lower.values())[:24]
    if len(by_lower) > len(first):
        return f"there are {', '.join(first)}, ... ({len(by_lower)} in all)"
    return f"choose {_alternatives(first)}" if first else "there are none"


def no_attribute(module: str, name: str, names: Iterable[str]) -> Exception:
    """Returns the exception that a module's `__getattr__` raises for an unknown name; it offers the close ones."""
    public = [name for name in names if not name.startswith("_")]
    message = f"module {module!r} has no attribute {name!r}: {close_names(name, public)}"
    # `from package import name` swallows an AttributeError and says less in its place, so that it gets an ImportError.
    importing = sys._getframe(2).f_code.co_name == "_handle_fromlist"
    return ImportError(message) if importing else AttributeError(message)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """The types of a class's fields; looking them up for each row would take most of the time of an import."""
    return typing.get_type_hints(kind, include_extras=True)


def _fit(value: Any, hint: Any) -> Any:
    """Returns the value as the type `hint` has it; a TypeError where it is another, a ValueError outside its limits."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        value, limits = _fit(value, arguments[0]), arguments[1]
        if value is not None and not limits.low <= value < limits.high:
            raise ValueError(str(limits))
        return value
    if origin is types.UnionType:  # of one type with None
        return None if value is None else _fit(value, arguments[0])
    if origin is tuple and isinstance(value, tuple | list):
        hints = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        if len(value) == len(hints):
            return tuple(map(_fit, value, hints))
    elif hasattr(hint, "_fields") and isinstance(value, tuple | list):  # a NamedTuple: a row of a table
        if len(value) == len(hint._fields):
            return hint(*map(_fit, value, _hints(hint).values()))
    elif origin is Literal:
        if any(value is choice or (isinstance(value, str) and value == choice) for choice in arguments):
            return value
    elif hint in (int, float):
        if isinstance(value, numbers.Integral if hint is int else numbers.Real) and not isinstance(value, bool):
            return hint(value)
    elif isinstance(value, origin or hint):
        return value
    raise TypeError


def _phrase(hint: Any, value: Any) -> str:
    if typing.get_origin(hint) is not Literal:
        return f"{inspect.formatannotation(hint)}, not {value!r}"
    choices = [str(choice) for choice in typing.get_args(hint)]
    offer = close_names(value, choices)
    return f"{_alternatives(choices)}, not {value!r}" + (f": {offer}" if offer.endswith("?") else "")


def _alternatives(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
