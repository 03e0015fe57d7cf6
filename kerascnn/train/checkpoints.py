"""The whole state of a run in one file per checkpoint, that is there whole or not at all.

A checkpoint is an uncompressed NumPy archive (`step-00000132.npz`): arrays by name, each with the CRC that a zip file
keeps, and no pickles. It is written beside and renamed, so a kill at any instant leaves the last whole one.
"""

import os
import re
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

KEEP = 3  # the newest ones

_NAME = re.compile(r"step-(\d{8,})\.npz")


def save(folder: Path, step: int, arrays: dict[str, np.ndarray]) -> None:
    """Writes a checkpoint and deletes all but the newest `KEEP`.

    Raises:
      OSError: the disk is full or cannot be written; the older checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "writing.tmp"
    try:
        with open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / f"step-{step:08d}.npz")
        _sync_folder(folder)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    for old in _newest_first(folder)[KEEP:]:
        old.unlink()


def latest(folder: Path) -> dict[str, np.ndarray] | None:
    """The newest checkpoint that is whole, or None. Broken ones are passed over, with a line on stderr."""
    for path in _newest_first(folder):
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            print(f"Passing over a broken checkpoint: {path} ({error})", file=sys.stderr)
    return None


def restore(variables: dict[str, Any], arrays: dict[str, np.ndarray], origin: object) -> None:
    """Gives each variable its array; all of them, or none.

    Args:
      variables: Keras or TensorFlow variables by their names in the checkpoint.
      arrays: what `latest` gave.
      origin: where the arrays come from, for the message.

    Raises:
      ValueError: a variable has no array of its shape.
    """
    for name, variable in variables.items():
        found = tuple(arrays[name].shape) if name in arrays else None
        if found != tuple(variable.shape):
            has = f"has it with the shape {found}" if found is not None else "has none"
            raise ValueError(
                f"the checkpoint in {origin} is of another model: {name} of shape {tuple(variable.shape)} is wanted, "
                f"the checkpoint {has}."
            )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _newest_first(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = ((int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name)))
    return [path for _, path in sorted(found, reverse=True)]


def _sync_folder(folder: Path) -> None:
    """Makes a rename last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
