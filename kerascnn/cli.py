"""The `kerascnn` command: finds a recipe or a tool by name and runs it. Imports neither Keras nor TensorFlow."""

import importlib.util
import pkgutil
import runpy
import signal
import sys
from typing import NoReturn

from kerascnn import console
from kerascnn.registry import close_names

# fmt: off
COMMANDS = {
    "list":    "the models",
    "info":    "one model: parameters, stages, paper",
    "train":   "train a recipe",
    "launch":  "train a recipe with several workers on this machine",
    "data":    "check a data set, count it, see what a recipe makes of it",
    "export":  "turn a run or published weights into a bundle: SavedModel, LiteRT, ONNX",
    "serve":   "answer requests with a bundle over HTTP, as TensorFlow Serving does",
    "predict": "classify images with a bundle, a run or published weights",
    "compare": "compare finished runs: accuracy, time, size; what they differ in",
    "evaluate": "count how often a model is right, beside what is published",
}
# fmt: on


def main() -> NoReturn:
    """Runs `kerascnn COMMAND ...`; exits with 2 and the close names where there is no such command or recipe."""
    command, arguments = (sys.argv[1:2] or ["--help"])[0], sys.argv[2:]
    if command in ("--help", "-h", "help"):
        print("kerascnn COMMAND [ARGUMENTS]\n")
        print("\n".join(f"  {name:8} {text}" for name, text in COMMANDS.items()))
        print("\nkerascnn COMMAND --help says more. Recipes:", ", ".join(names("recipes")))
        sys.exit(0)
    if command not in COMMANDS:
        console.fail(f"no command {command!r}: {close_names(command, COMMANDS)}")
    if command == "train":
        _train(arguments)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `kerascnn list | head` ends as other commands do
    run("tools", command, arguments)


def _train(arguments: list[str]) -> NoReturn:
    if not arguments or arguments[0].startswith("-"):
        print("kerascnn train RECIPE [FLAGS]\n\nRecipes (kerascnn train RECIPE --help shows its flags):\n")
        print("\n".join(f"  {name}" for name in names("recipes")))
        asked = arguments[:1] in (["--help"], ["-h"])
        sys.exit(0) if asked else console.fail("give the name of a recipe first.")
    if arguments[0] not in names("recipes"):
        console.fail(f"no recipe {arguments[0]!r}: {close_names(arguments[0], names('recipes'))}")
    run("recipes", arguments[0], arguments[1:])


def package(kind: str) -> str:
    """The package that holds `recipes` or `tools`: `kerascnn.KIND` once installed, `KIND` in a bare checkout."""
    installed = f"kerascnn.{kind}"
    return installed if importlib.util.find_spec(installed) else kind


def names(kind: str) -> list[str]:
    """The modules of `recipes` or `tools`; not the folders in them."""
    spec = importlib.util.find_spec(package(kind))
    folders = spec.submodule_search_locations if spec else None
    return sorted(module.name for module in pkgutil.iter_modules(folders or []) if not module.ispkg)


def run(kind: str, name: str, arguments: list[str]) -> NoReturn:
    """Runs a module as `python -m` does, with these arguments."""
    sys.argv = [f"kerascnn {name}", *arguments]
    runpy.run_module(f"{package(kind)}.{name}", run_name="__main__", alter_sys=True)
    sys.exit(0)


if __name__ == "__main__":
    main()
