"""Text becomes calls of known functions with plain values, and a wrong one is answered with what to type."""

import re
from typing import Literal

import pytest

from kerascnn.data import calls


def first(
    *,
    n: int = 2,
    std: float = 0.5,
    pair: tuple[float, float] = (0.0, 1.0),
    mode: Literal["x", "y"] = "x",
    maybe: float | None = None,
    flag: bool = False,
):
    if n < 0:
        raise ValueError(f"first(n={n}): from 0 on.")
    return ("first", n, std, pair, mode, maybe, flag)


def many(*, numbers: tuple[int, ...] = (1,)):
    return numbers


def second():
    return "second"


def needs(*, word: str):
    return word


def library(name, **arguments):
    return name, arguments


FUNCTIONS = {"first": first, "second": second, "needs": needs, "library": library, "many": many}
FIRST = ("first", 2, 0.5, (0.0, 1.0), "x", None, False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, []),
        ("", []),
        ("  ", []),
        ("second", ["second"]),
        ("second(), first", ["second", FIRST]),
        ("first(n=3, std=1, pair=(1, 2.5), mode='y', maybe=-2, flag=True)", [("first", 3, 1, (1, 2.5), "y", -2, True)]),
        ("first(maybe=None),\n   second", [FIRST, "second"]),
        ("needs(word='a b')", ["a b"]),
        ("many(numbers=(3,)), many(numbers=(1, 2, 3))", [(3,), (1, 2, 3)]),
        ("library.Layer(x=[1, {'a': 2}])", [("Layer", {"x": [1, {"a": 2}]})]),
        ("library.Layer", [("Layer", {})]),
    ],
)
def test_calls(text, expected):
    assert calls.evaluate(text, FUNCTIONS, "augment") == expected


FORM = "is not of the form 'name(key=value)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frist(n=1)", "augment: there is no 'frist': did you mean first?"),
        ("first(m=10)", "first has no parameter 'm': "),
        ("second(p=1)", "second has no parameter 'p': there are none"),
        ("first(**{'n': 1})", "first has no parameter None"),
        ("first(n=1, n=2)", "first is given n twice."),
        ("first(n=1.5)", "first(n=1.5): a whole number is wanted."),
        ("first(n=True)", "first(n=True): a whole number is wanted."),
        ("first(n='1')", "first(n='1'): a whole number is wanted."),
        ("first(std=1e999)", "first(std=1e309): a number is wanted."),
        ("first(std=x)", "first(std=x): a plain value is wanted."),
        ("first(std={[]: 1})", "first(std={[]: 1}): a plain value is wanted."),
        ("first(pair=1)", "first(pair=1): (a number, a number) is wanted."),
        ("first(pair=(1, 2, 3))", "(a number, a number) is wanted."),
        ("many(numbers=3)", "many(numbers=3): (a whole number, ...) is wanted."),
        ("many(numbers=(1, 2.5))", "(a whole number, ...) is wanted."),
        ("many(numbers=())", "(a whole number, ...) is wanted."),
        ("first(mode='z')", "first(mode='z'): 'x' or 'y' is wanted."),
        ("first(maybe='z')", "first(maybe='z'): a number or None is wanted."),
        ("first(flag=1)", "first(flag=1): True or False is wanted."),
        ("first(n=-1)", "first(n=-1): from 0 on."),
        ("needs", "word"),
        ("first(10)", FORM),
        ("5", FORM),
        ("a.b.c()", FORM),
        ("first(n=1", FORM),
        ("first() second()", FORM),
        ("first()] + [second()", FORM),
        ("first() for x in y", FORM),
        (",", FORM),
        ("\0", FORM),
        ("os.system(command='ls')", "there is no 'os'"),
        ("first.second(n=1)", "'first.second' is no name that can be called."),
        ("library", "'library' is no name that can be called."),
    ],
)
def test_a_wrong_text_is_answered_with_what_to_type(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        calls.evaluate(text, FUNCTIONS, "augment")
