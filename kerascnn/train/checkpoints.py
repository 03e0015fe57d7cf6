"""The whole state of a run in one file per checkpoint, that is there whole or not at all.

A checkpoint is an uncompressed NumPy archive (`step-00000132.npz`): arrays by name, no pickles, and as the archive's
comment the SHA-256 of all names, dtypes, shapes and bytes. `numpy.load` reads it too. It is written beside and renamed,
so a kill at any instant leaves the last whole one. `best.npz` is the one that was the best when it was saved: a second
name of the same file, which stays when the numbered one goes.

A run that goes back (`--resume=older`, `--resume=best`) leaves checkpoints of later steps behind. They are not touched
until the run saves again: then they get the ending `.aside`, so that no run goes on from them by itself, and each stays
until the run has come past its step.
"""

import contextlib
import hashlib
import math
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kerascnn.train.recipe import CHOICES

RESUME = CHOICES["resume"]  # what `load` may be asked for

_NAME = re.compile(r"step-(\d{8,})\.npz")
_ASIDE = re.compile(r"step-(\d{8,})\.npz\.aside")
_COMMENT = re.compile(rb"sha256=([0-9a-f]{64})")
_CHUNK = 1 << 20  # bytes that are hashed and written while they are in the processor's cache


class _Broken(Exception):
    """Why a file is no whole checkpoint: a clause that begins with `it`."""


def save(folder: Path, step: int, arrays: Mapping[str, np.ndarray], *, keep: int = 3, best: bool = False) -> None:
    """Writes a checkpoint, deletes all but the newest `keep`, and sets those of later steps aside.

    Args:
      folder: of the checkpoints; made when it is missing.
      step: how many steps are done.
      arrays: numbers or texts by name. They are asked for one after the other, and none is copied, so a mapping that
        fetches each from its device when it is asked needs no memory for all.
      keep: how many of the newest stay, this one among them; `best.npz` is not counted.
      best: whether it becomes `best.npz` too.

    Raises:
      OSError: the disk is full or cannot be written; the older checkpoints are untouched.
      ValueError: an array cannot be kept without pickles.
    """
    temporary, link = folder / "writing.tmp", folder / "best.tmp"
    path = folder / f"step-{step:08d}.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Not merely overwritten: after a kill it may be the same file as best.npz.
        temporary.unlink(missing_ok=True)
        with open(temporary, "xb") as file:
            _write(file, arrays)
            file.flush()
            os.fsync(file.fileno())
        if best:
            # Ahead of the numbered name: a kill between the two leaves a best.npz that the run comes to again, where
            # the other order would leave a checkpoint that speaks of a best.npz which is not there.
            link.unlink(missing_ok=True)
            _link(temporary, link)
            os.replace(link, folder / "best.npz")
        os.replace(temporary, path)
        _sync_folder(folder)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
            link.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(
                f"cannot write the checkpoint {path} ({error.strerror or error}): mend that or free some room, and the "
                "same command goes on from the checkpoint before."
            ) from error
        raise
    _tidy(folder, step, keep)


def load(folder: Path, which: str = "latest") -> dict[str, np.ndarray] | None:
    """The arrays of a checkpoint, all of which are as they were written. Changes nothing in the folder.

    Args:
      folder: of the checkpoints.
      which: `latest`, the newest; `older`, the newest that is whole, with a line on stderr for each that is not; or
        `best`, the last one saved as the best, whatever its step.

    Returns:
      None where `latest` is asked for and there is no checkpoint.

    Raises:
      ValueError: the one asked for is broken or not there; the message says what to do.
    """
    if which not in RESUME:
        raise ValueError(f"no checkpoint {which!r}: there are {', '.join(RESUME)}.")
    if which == "best":
        return _load_best(folder)
    passed_over = 0
    for path in _newest_first(folder):
        try:
            return _read(path)
        except _Broken as reason:
            if which == "latest":
                raise ValueError(
                    f"the newest checkpoint, {path}, cannot be used: {reason}. {_way_out(folder, path)}"
                ) from reason
            passed_over += 1
            print(f"Passing over a broken checkpoint: {path}: {reason}.", file=sys.stderr)
    if which == "latest":
        return None
    if passed_over:
        raise ValueError(f"--resume=older: no checkpoint in {folder} is whole. {_BEGIN_ANEW}")
    raise ValueError(f"--resume=older: there is no checkpoint in {folder}. Leave the flag out, and the run begins.")


def restore(variables: dict[str, Any], arrays: Mapping[str, np.ndarray], origin: object) -> None:
    """Gives each variable its array; all of them, or none.

    Args:
      variables: Keras or TensorFlow variables by their names in the checkpoint.
      arrays: what `load` gave.
      origin: where the arrays come from, for the message.

    Raises:
      ValueError: variables have no array of their shape; the message has the first few.
    """
    wrong = []
    for name, variable in variables.items():
        wanted = tuple(variable.shape)
        if name not in arrays:
            wrong.append(f"{name} of shape {wanted} is wanted, the checkpoint has none")
        elif (found := tuple(arrays[name].shape)) != wanted:
            wrong.append(f"{name} of shape {wanted} is wanted, the checkpoint has it with the shape {found}")
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(
            f"the checkpoint in {origin} is of another model or optimizer: {len(wrong)} of {len(variables)} variables "
            f"do not fit: {'; '.join(wrong[:3])}{more}. Go on with what it was made with, or give another --model_dir."
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])


_BEGIN_ANEW = "Delete those that are broken, and the run begins anew."


def _load_best(folder):
    path = folder / "best.npz"
    if not path.exists():
        raise ValueError(f"--resume=best: there is no {path}. --resume=latest takes the newest checkpoint.")
    try:
        return _read(path)
    except _Broken as reason:
        raise ValueError(
            f"--resume=best: {path} cannot be used: {reason}. --resume=latest takes the newest checkpoint."
        ) from reason


def _way_out(folder, broken):
    """What to do about a broken newest checkpoint."""
    for path in _newest_first(folder):
        if path == broken:
            continue
        with contextlib.suppress(_Broken):
            _read(path)
            step = int(_NAME.fullmatch(path.name)[1])
            return f"--resume=older goes on from step {step} ({path.name}), as does deleting the broken file."
    return f"No older one is whole. {_BEGIN_ANEW}"


def _write(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the archive: as `numpy.savez`, but hashed on the way, and without a copy of each array."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in arrays:
            _write_array(archive, digest, name, np.asarray(arrays[name], order="C"))
        archive.comment = f"sha256={digest.hexdigest()}".encode()


def _write_array(archive, digest, name, array):
    if array.dtype.kind not in "biufcSU":  # objects; and bfloat16, which would come back as raw bytes
        raise ValueError(f"a checkpoint cannot hold {name}: its dtype is {array.dtype}.")
    digest.update(_description(name, array))
    with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
        for chunk in _chunks(array):
            digest.update(chunk)
            stream.write(chunk)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint, or _Broken with what is wrong."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not zipfile.is_zipfile(file):
                file.seek(0)
                begins = file.read(4) == b"PK\3\4"
                raise _Broken(
                    f"it is truncated: of the {size:,} bytes that are there, none is the archive's end"
                    if begins
                    else f"it is not an archive of arrays, but {size:,} bytes of something else"
                )
            with zipfile.ZipFile(file) as archive:
                return _checked_arrays(archive, size)
    except (_Broken, MemoryError):
        raise
    except Exception as error:  # zipfile and NumPy raise nearly anything when bytes are not what they should be
        raise _Broken(f"it is damaged ({type(error).__name__}: {error})") from error


def _checked_arrays(archive, size):
    # Files without a checksum are from before there was an optimizer field in recipes; no run could go on from them.
    if not (checksum := _COMMENT.fullmatch(archive.comment)):
        raise _Broken("it has no checksum, so an older version wrote it, or another program")
    arrays, digest = {}, hashlib.sha256()
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        with archive.open(info) as stream:
            np.lib.format.read_magic(stream)
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            if dtype.hasobject:
                raise _Broken(f"it holds pickles ({name}), which are never loaded")
            if math.prod(shape) * dtype.itemsize > size:  # ahead of asking for that much memory
                raise _Broken(f"it is damaged: {name} of shape {shape} cannot be in {size:,} bytes")
            array = np.empty(shape, dtype)
            digest.update(_description(name, array))
            for chunk in _chunks(array):
                if stream.readinto(chunk) != len(chunk):
                    raise _Broken(f"it is damaged: the bytes of {name} end early")
                digest.update(chunk)
        arrays[name] = array
    if digest.hexdigest().encode() != checksum[1]:
        raise _Broken("it is not what was written: its arrays do not have its checksum")
    return arrays


def _description(name, array):
    return repr((name, array.dtype.str, array.shape)).encode()


def _chunks(array):
    """The bytes of a contiguous array, without copying them."""
    content = memoryview(array.reshape(-1).view(np.uint8))
    return (content[start : start + _CHUNK] for start in range(0, len(content), _CHUNK))


def _link(source, target):
    """Gives a file a second name; a copy has to do where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        with open(source, "rb") as original, open(target, "wb") as copy:
            shutil.copyfileobj(original, copy, _CHUNK)
            copy.flush()
            os.fsync(copy.fileno())


def _tidy(folder, step, keep):
    """After the checkpoint of a step is whole: what is later goes aside, what is too old or was passed goes."""
    for later, path in _numbered(folder, _NAME):
        if later > step:
            print(f"Setting aside a checkpoint of a later step: {path}.aside", file=sys.stderr)
            os.replace(path, path.with_name(f"{path.name}.aside"))
    for passed, path in _numbered(folder, _ASIDE):
        if passed <= step:
            path.unlink()
    for old in _newest_first(folder)[keep:]:
        old.unlink()


def _newest_first(folder):
    return [path for _, path in sorted(_numbered(folder, _NAME), reverse=True)]


def _numbered(folder, pattern):
    """The files of a folder whose names match, each with its step."""
    if not folder.is_dir():
        return []
    return [(int(match[1]), path) for path in folder.iterdir() if (match := pattern.fullmatch(path.name))]


def _sync_folder(folder):
    """Makes a rename last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
