"""Downloads from the Hugging Face hub.

huggingface_hub has the cache, the offline mode (HF_HUB_OFFLINE), the tokens (HF_TOKEN), the mirrors (HF_ENDPOINT) and
the resuming of a broken download. Here a file is held against the hash that the hub states, a pickle is refused, and an
error says what to do. huggingface_hub is imported where it is used: who loads local files does not need it.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from kerascnn import registry

WEIGHTS = "model.safetensors"  # timm's name of it, and most others'
CONFIG = "config.json"
PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth", ".pth.tar")

# What a status of the hub that huggingface_hub has no class for means, and what to do.
STATUSES: dict[int, tuple[type[OSError], str]] = {
    401: (PermissionError, "wants a token, or does not accept the one in HF_TOKEN: make one at {hub}/settings/tokens"),
    403: (PermissionError, "forbids it: give HF_TOKEN a token that may read it, from {hub}/settings/tokens"),
    416: (ConnectionError, "sent less than it promised: try again"),
    429: (ConnectionError, "takes no more requests for now: wait some minutes, or set HF_TOKEN, which allows more"),
}


def parse(source: str) -> tuple[str, str | None]:
    """Returns the repository and the revision (a branch, tag or commit; None for the newest) that a source names.

    "timm:NAME" is the repository timm/NAME, "hf:OWNER/NAME" any other; "@REVISION" may follow. Else a ValueError.
    """
    kind, _, rest = source.partition(":")
    repository, at, revision = rest.partition("@")
    repository = f"timm/{repository}" if kind == "timm" else repository
    name = r"[A-Za-z0-9][\w.-]*"
    known = kind in ("timm", "hf") and re.fullmatch(f"{name}/{name}", repository, re.ASCII)
    # A revision becomes a path in the cache.
    if not known or (at and (not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", revision, re.ASCII) or ".." in revision)):
        raise ValueError(
            f'{source!r} names no repository of the hub: write "timm:resnet50.a1_in1k" or "hf:owner/name", with '
            '"@" and a branch, tag or commit behind it where the newest is not wanted'
        )
    return repository, revision or None


def download(repository: str, filename: str, *, revision: str | None = None) -> str:
    """Returns the path of a repository's file in huggingface_hub's cache; what is there is not downloaded again.

    Raises ValueError for what does not exist, is a pickle, or arrived damaged; OSError where the hub cannot be reached
    or does not let us in, and where the cache cannot be written.
    """
    if filename.endswith(PICKLES):
        raise _only_pickles(repository, [filename])
    with _explained(repository, revision, filename):
        path = _fetched(repository, filename, revision)
    return _verified(path, repository)


def weights_file(source: str) -> str:
    """Returns the path of the weights of "timm:NAME" or "hf:OWNER/NAME", downloaded if need be.

    They are in model.safetensors, else in the repository's only .safetensors file. Raises as `download` does.
    """
    repository, revision = parse(source)
    with _explained(repository, revision, WEIGHTS):
        from huggingface_hub import errors

        names = None
        try:
            path = _fetched(repository, WEIGHTS, revision)
        except errors.RemoteEntryNotFoundError:
            names = _listed(repository, revision)
        except errors.LocalEntryNotFoundError:  # no network: perhaps an earlier download found another name
            if not (names := _cached(repository, revision)):
                raise
        if names is not None:
            path = _fetched(repository, _only_weights(repository, names), revision)
    return _verified(path, repository)


def config(source: str) -> dict[str, Any]:
    """Returns what the config.json of "timm:NAME" or "hf:OWNER/NAME" says. Raises as `download` does."""
    repository, revision = parse(source)
    path = download(repository, CONFIG, revision=revision)
    try:
        with open(path, encoding="utf-8") as file:
            fields = json.load(file)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested without an end
        raise ValueError(f"{CONFIG} of {repository} is not JSON ({error}): tell the owner, or take another") from error
    if not isinstance(fields, dict):
        raise ValueError(
            f"{CONFIG} of {repository} is a {type(fields).__name__}, not an object with fields: tell the owner"
        )
    return fields


def _fetched(repository: str, filename: str, revision: str | None) -> str:
    import huggingface_hub

    return huggingface_hub.hf_hub_download(repository, filename, revision=revision, library_name="kerascnn")


def _verified(path: str, repository: str) -> str:
    """The path, where the file has the hash that the hub stated. Else the file is deleted: the cache would keep it."""
    if not os.path.islink(path):
        return path  # a file system without links: the cache does not keep the hash there
    blob = os.path.join(os.path.dirname(path), os.readlink(path))
    stated = os.path.basename(blob)
    if not re.fullmatch("[0-9a-f]{64}", stated):  # a small file, named by git's hash
        return path
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found == stated:
        return path
    for name in (os.path.realpath(blob), blob, path):  # the blob may itself be a link, to one that repositories share
        with contextlib.suppress(OSError):
            os.unlink(name)
    todo = f"delete {os.path.realpath(blob)} and" if os.path.lexists(path) else "it was deleted,"
    raise ValueError(
        f"{os.path.basename(path)} of {repository} is damaged: its SHA-256 is {found}, the hub states {stated}; {todo} "
        "try again"
    )


def _listed(repository: str, revision: str | None) -> list[str]:
    """The names of a repository's files, as the hub lists them."""
    import huggingface_hub

    api = huggingface_hub.HfApi(library_name="kerascnn")
    try:
        info = api.model_info(repository, revision=revision, timeout=huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT)
        return [os.fspath(sibling.rfilename) for sibling in info.siblings or []]
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{api.endpoint} does not list the files of {repository} as the hub does: {error!r}"
        ) from error


def _cached(repository: str, revision: str | None) -> list[str]:
    """The names of the .safetensors files in the cache, of a repository that is known to have no model.safetensors."""
    import huggingface_hub

    known = huggingface_hub.try_to_load_from_cache(repository, WEIGHTS, revision=revision)
    if known is not huggingface_hub._CACHED_NO_EXIST:
        return []
    try:
        folder = huggingface_hub.snapshot_download(
            repository, revision=revision, allow_patterns="*.safetensors", local_files_only=True
        )
    except huggingface_hub.errors.LocalEntryNotFoundError:
        return []
    return [path.relative_to(folder).as_posix() for path in pathlib.Path(folder).rglob("*.safetensors")]


def _only_weights(repository: str, files: list[str]) -> str:
    found = sorted(name for name in files if name.endswith(".safetensors"))
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"{repository} has several weight files ({_some(found)}) and no {WEIGHTS}: download the one that you want, "
            "and give its path"
        )
    if pickles := sorted(name for name in files if name.endswith(PICKLES)):
        raise _only_pickles(repository, pickles)
    raise ValueError(f"{repository} has no .safetensors file: take another repository")


def _only_pickles(repository: str, files: list[str]) -> ValueError:
    return ValueError(
        f"{repository} has its weights in a pickle ({_some(files)}), which is never loaded, because it can run code. "
        "Download it and convert it where PyTorch is installed, with "
        "`python -m tools.convert_torch FILE.pth --out=FILE.safetensors`, and give the path of the .safetensors file"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3] + ["..."] * (len(names) > 3))


@contextlib.contextmanager
def _explained(repository: str, revision: str | None, filename: str) -> Iterator[None]:
    """Turns the errors of huggingface_hub, and of what it fetches with, into ours."""
    from huggingface_hub import errors

    try:
        yield
    # The first is httpx's, or httpx2's, whichever huggingface_hub uses; the last comes from hf_xet, which the hub sends
    # large files through.
    except (errors.HTTPError, OSError, RuntimeError) as error:
        raise _explanation(error, repository, revision, filename) from error


def _explanation(error: BaseException, repository: str, revision: str | None, filename: str) -> Exception:
    from huggingface_hub import constants, errors

    hub, cache = constants.ENDPOINT, constants.HF_HUB_CACHE
    where = f"{repository}@{revision}" if revision else repository
    match error:
        case errors.OfflineModeIsEnabled():
            return FileNotFoundError(
                f"{filename} of {where} is not in the cache {cache}, and HF_HUB_OFFLINE forbids to download it: unset "
                "HF_HUB_OFFLINE, or copy the cache of a machine that has the file"
            )
        case errors.LocalEntryNotFoundError():  # the hub did not answer as it should, and the cache cannot help
            return _explanation(error.__cause__ or errors.OfflineModeIsEnabled(), repository, revision, filename)
        case errors.FileMetadataError():
            return ConnectionError(
                f"{hub} does not answer as the Hugging Face hub does: check HF_ENDPOINT, and whether a proxy or a "
                f"login page of the network answers in its place ({_line(error)})"
            )
        case errors.GatedRepoError():
            return PermissionError(
                f"{repository} is gated: ask for access at {hub}/{repository}, and set HF_TOKEN to a token of that "
                "account"
            )
        case errors.RepositoryNotFoundError():
            return ValueError(
                f"{hub} has no repository {repository}, or it is private and HF_TOKEN holds no token that may read it"
                f"{_close(repository)}"
            )
        case errors.RevisionNotFoundError():
            return ValueError(f"{repository} has no revision {revision!r}: see {hub}/{repository}/commits/main")
        case errors.RemoteEntryNotFoundError():
            return ValueError(f"{where} has no {filename}: see {hub}/{repository}/tree/{revision or 'main'}")
        case errors.HfHubHTTPError(response=response):
            status = response.status_code
            unknown = "has a fault of its own: try again later" if status >= 500 else "does not accept the request"
            kind, meaning = STATUSES.get(status, (ConnectionError, unknown))
            return kind(f"{hub} {meaning.format(hub=hub)} (HTTP {status} for {filename} of {where})")
        case errors.HTTPError():
            return ConnectionError(
                f"the connection to {hub} failed while {filename} of {where} was fetched: check the network (and "
                f"HF_ENDPOINT and HTTPS_PROXY, where they are set), and try again ({_line(error)})"
            )
        case OSError(errno=int()):
            return OSError(
                error.errno,
                f"{filename} of {where} cannot be written to the cache {cache}: make room there, or set HF_HOME to a "
                f"folder on another disk ({error.strerror})",
            )
        case RuntimeError():
            return ConnectionError(
                f"Xet, through which {hub} sends {filename} of {where}, failed: try again, or set HF_HUB_DISABLE_XET=1 "
                f"for plain HTTP ({_line(error)})"
            )
    return ConnectionError(f"{filename} of {where} did not arrive whole: try again ({_line(error)})")


def _line(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _close(repository: str) -> str:
    """Offers the owner's repositories with a name like that. Nothing where the hub does not say."""
    import huggingface_hub

    owner = repository.split("/")[0]
    try:
        names = [info.id for info in huggingface_hub.HfApi().list_models(author=owner, limit=2000)]
    except Exception:  # whatever it is, the error that is being told matters more
        return ""
    return f"; of {owner}'s, {registry.close_names(repository, names)}" if names else ""
