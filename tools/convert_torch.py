"""Turns a checkpoint of PyTorch into a .safetensors file, which weights= takes. Runs where PyTorch is installed.

    python -m tools.convert_torch FILE.pth --out=FILE.safetensors

A .pth, .pt or .bin file is a pickle, which can run code when it is read. PyTorch's own reader of tensors alone is used
(weights_only=True), nothing else. Needs torch, numpy and safetensors, and nothing of ours, so that this file can be
copied to where PyTorch is and run there.
"""

import argparse
import os
import pathlib
import sys
import uuid
import warnings
from collections.abc import Mapping
from typing import Any, NoReturn

# What checkpoints keep the tensors under, in the order in which they are looked for.
KEYS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema", "ema")

# What DistributedDataParallel and torch.compile put ahead of every name.
PREFIXES = ("module.", "_orig_mod.")


def fail(message: object, code: int = 2) -> NoReturn:
    """Ends the process with one line on stderr, as kerascnn.console does, which needs absl."""
    print("error: " + " ".join(str(message).split()), file=sys.stderr)
    sys.exit(code)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(f"{message} (--help shows all flags)")


def state_dict(content: Any, key: str | None = None) -> tuple[dict[str, Any], list[str]]:
    """Returns the tensors of what a checkpoint holds, by their names, and the keys that they were found under.

    `key` is taken first, where a checkpoint has several. A ValueError says what else there is in place of tensors.
    """
    import torch

    found, taken = content, []
    for wanted in (key, None):
        while isinstance(found, Mapping) and not any(isinstance(value, torch.Tensor) for value in found.values()):
            names = [name for name in ((wanted,) if wanted else KEYS) if isinstance(found.get(name), Mapping)]
            if not names:
                break
            found = found[names[0]]
            taken.append(names[0])
    if key is not None and key not in taken:
        there = ", ".join(map(str, content)) if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise ValueError(f"it has no {key!r} with tensors; there is {there}")
    if not isinstance(found, Mapping) or not found:
        kind = "an empty dict" if isinstance(found, Mapping) else f"a {type(found).__name__}"
        raise ValueError(f"it holds {kind}, no state dict: save model.state_dict() where it was trained")
    others = {str(name): type(value).__name__ for name, value in found.items() if not isinstance(value, torch.Tensor)}
    if others:
        told = ", ".join(f"{name} ({kind})" for name, kind in list(others.items())[:5])
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        raise ValueError(f"it holds what is no tensor: {told}{more}; --key=NAME chooses the part with the tensors")
    if wrong := [name for name in found if not isinstance(name, str)]:
        raise ValueError(f"the name of a tensor must be text, not {wrong[0]!r}")
    tensors = dict(found)
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors, taken


def read(path: pathlib.Path) -> Any:
    """Returns what a checkpoint holds, read by PyTorch's reader of tensors alone; a ValueError where that refuses."""
    import pickle

    import torch

    try:
        # Training scripts keep their flags beside the weights: a plain container of values.
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except (pickle.UnpicklingError, RuntimeError) as error:
        text = " ".join(str(error).split())
        if "TorchScript" in text:
            raise ValueError(
                "it is a TorchScript program, no state dict: save model.state_dict() in its place"
            ) from error
        if "Unsupported global" in text or "Unsupported class" in text or "Unsupported operand" in text:
            what = text.partition("GLOBAL ")[2].partition(" ")[0] or "an object"
            raise ValueError(
                f"it holds more than tensors ({what}), and would need weights_only=False, which can run code and is "
                "never done here: where you trust the file, load it and save model.state_dict()"
            ) from error
        raise ValueError(f"it is damaged, or not a file of PyTorch: {text[:200]}") from error
    except Exception as error:  # of a damaged file, PyTorch raises whatever it stumbles over
        raise ValueError(f"it is damaged, or not a file of PyTorch: {type(error).__name__}: {error}") from error


def write(tensors: Mapping[str, Any], path: pathlib.Path) -> None:
    """Writes tensors as they are, each in memory of its own; whole or not at all."""
    import safetensors.torch

    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    # Tensors may share memory, which the format cannot say.
    copies = {name: tensor.detach().to_dense().clone().contiguous() for name, tensor in tensors.items()}
    try:
        safetensors.torch.save_file(copies, str(temporary), {"format": "pt"})
        os.replace(temporary, path)
    except safetensors.SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def main() -> None:
    parser = _Parser(prog="convert_torch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="the checkpoint: a .pth, .pt or .bin file")
    parser.add_argument("--out", required=True, help="the .safetensors file to write")
    parser.add_argument("--key", help=f"which part of the checkpoint; without it the first of {', '.join(KEYS)}")
    values = parser.parse_args()
    path, out = pathlib.Path(values.file), pathlib.Path(values.out)
    if out.suffix != ".safetensors":
        fail(f"--out={out}: the name of a .safetensors file is wanted.")
    if not path.is_file():
        fail(f"there is no file {path}.")
    try:
        import safetensors.torch  # noqa: F401
    except ImportError as error:
        fail(f"{error}: run this where PyTorch is, or install it with: pip install torch numpy safetensors")
    try:
        tensors, taken = state_dict(read(path), values.key)
    except (ValueError, OSError) as error:
        fail(f"{path}: {error}")
    try:
        write(tensors, out)
    except (OSError, ValueError, NotImplementedError, RuntimeError) as error:
        fail(f"cannot write {out}: {error}", 1)
    under = f", found under {'.'.join(taken)}" if taken else ""
    print(f"{out}: {len(tensors)} tensors{under}")


if __name__ == "__main__":
    main()
