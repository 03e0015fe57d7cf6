"""Text in a recipe, such as `"pad(pixels=4), horizontal_flip"`, to what functions of those names make."""

import ast
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from kerascnn.registry import close_names


def evaluate(text: str | None, functions: Mapping[str, Callable], field: str) -> list:
    """What the calls in `text` give, in their order; nothing for None and for an empty text.

    Nothing is executed but these functions, and their arguments are plain values.

    Args:
      text: calls with commas between them, as in `name(key=value), name`; without arguments the brackets may go.
      functions: by name. Their parameters are annotated with int, float, bool, str, a Literal, a tuple of these
        (`tuple[float, ...]` for one or more) or an optional one; an int does for a float. A dotted name, as in
        `library.Name(...)`, is looked up by what stands before the dot, and that function gets the name behind it as
        its first argument and takes any keywords.
      field: what the text is called in messages.

    Raises:
      ValueError: the text has another form; a name, a keyword or a value is wrong; or a function says so itself.
    """
    return [_call(node, text, functions, field) for node in _nodes(text or "", field)]


def _nodes(text, field):
    form = f"{field}={text!r} is not of the form 'name(key=value), name'"
    try:
        calls = ast.parse(f"[{text.strip()}]", mode="eval").body
    except (SyntaxError, ValueError) as error:  # a zero byte is a ValueError
        raise ValueError(f"{form}: {getattr(error, 'msg', error)}.") from error
    if not isinstance(calls, ast.List):  # "a()] + [b()", say
        raise ValueError(f"{form}.")
    return calls.elts


def _call(node, text, functions, field):
    called, keywords = (node.func, node.keywords) if isinstance(node, ast.Call) else (node, [])
    match called:
        case ast.Name(name):
            inside: list[str] = []
        case ast.Attribute(ast.Name(name), attribute):
            inside = [attribute]
        case _:
            name = None
    if name is None or (isinstance(node, ast.Call) and node.args):
        raise ValueError(f"{field}={text!r}: {ast.unparse(node)!r} is not of the form 'name(key=value)'.")
    if name not in functions:
        raise ValueError(f"{field}: there is no {name!r}: {close_names(name, functions)}")
    function = functions[name]
    parameters = inspect.signature(function).parameters.values()
    known = {p.name: p.annotation for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if anything != bool(inside):
        raise ValueError(f"{field}={text!r}: {ast.unparse(called)!r} is no name that can be called.")
    arguments: dict[str, Any] = {}
    for keyword in keywords:
        written = f"{name}({ast.unparse(keyword)})"
        if keyword.arg is None or (keyword.arg not in known and not anything):
            raise ValueError(f"{name} has no parameter {keyword.arg!r}: {close_names(str(keyword.arg), known)}")
        if keyword.arg in arguments:
            raise ValueError(f"{name} is given {keyword.arg} twice.")
        try:
            value = ast.literal_eval(keyword.value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{written}: a plain value is wanted.") from error
        if keyword.arg in known and not _fits(value, known[keyword.arg]):
            raise ValueError(f"{written}: {_wanted(known[keyword.arg])} is wanted.")
        arguments[keyword.arg] = value
    try:
        return function(*inside, **arguments)
    except TypeError as error:  # an argument that has no default is missing
        raise ValueError(f"{field}: {ast.unparse(node)}: {error}.") from error


def _fits(value, kind) -> bool:
    options = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return value in options
    if isinstance(kind, types.UnionType):
        return any(_fits(value, option) for option in options)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, tuple) or not value:
            return False
        options = options[:1] * len(value) if options[-1] is ... else options
        return len(value) == len(options) and all(map(_fits, value, options))
    if kind in (int, float):
        return isinstance(value, int | kind) and not isinstance(value, bool) and abs(value) < math.inf
    return value is None if kind in (None, type(None)) else isinstance(value, kind)


def _wanted(kind) -> str:
    options = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(repr, options))
    if isinstance(kind, types.UnionType):
        return " or ".join(map(_wanted, options))
    if typing.get_origin(kind) is tuple:
        return f"({', '.join('...' if option is ... else _wanted(option) for option in options)})"
    names = {int: "a whole number", float: "a number", bool: "True or False", str: "a word in quotes"}
    return names.get(kind, "None")
