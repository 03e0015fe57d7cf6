"""The versions of a bundle: found by polling, loaded beside the one that answers, put in its place, and unloaded."""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import gc
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from kerascnn.serve.batching import Arrays, Signature
from kerascnn.serve.metrics import Metrics
from kerascnn.serve.rest import RestError, Spec

WARMUP = "assets.extra/tf_serving_warmup_requests"
MAX_WARMUP = 1000  # records that TensorFlow Serving plays at most
REMEMBERED = 10  # versions that are told of after they have ended

# How TensorFlow Serving turns TensorFlow's errors into HTTP: tensorflow_serving/model_servers/http_server.cc
STATUS = {
    tf.errors.INVALID_ARGUMENT: 400,
    tf.errors.FAILED_PRECONDITION: 400,
    tf.errors.OUT_OF_RANGE: 400,
    tf.errors.NOT_FOUND: 404,
    tf.errors.RESOURCE_EXHAUSTED: 429,
    tf.errors.UNIMPLEMENTED: 501,
    tf.errors.UNAVAILABLE: 503,
    tf.errors.DEADLINE_EXCEEDED: 504,
}


@dataclasses.dataclass(frozen=True)
class Method:
    """A signature of a loaded version: what it takes, and what computes it."""

    inputs: dict[str, Spec]
    compute: Signature


@dataclasses.dataclass(eq=False)
class Version:
    """A loaded version.

    Attributes:
      methods: by the name of their signature.
      metadata: what TensorFlow Serving's metadata say of the signatures.
      users: requests that are being answered by it.
    """

    number: int
    methods: dict[str, Method]
    metadata: dict[str, Any]
    users: int = 0


def find(bundle: Path) -> dict[int, Path]:
    """The versions in a bundle's folder; or the one that the folder itself is. Empty where there are none."""
    try:
        if is_saved_model(bundle):
            return {int(bundle.name) if bundle.name.isdecimal() else 1: bundle}
        folders = [path for path in bundle.iterdir() if path.name.isdecimal() and is_saved_model(path)]
    except OSError:
        return {}
    return {int(path.name): path for path in folders if int(path.name) < 2**63}


def is_saved_model(folder: Path) -> bool:
    return (folder / "saved_model.pb").is_file()


def load(number: int, folder: Path, trust: bool = False) -> Version:
    """Loads a version and plays its warm-up requests.

    Raises:
      ValueError: it is not trusted, or damaged, or has no signatures, or cannot compute its own warm-up requests.
    """
    from kerascnn.serve.trust import check

    check(folder, trust=trust)
    try:
        loaded = tf.saved_model.load(str(folder))
        metadata = _metadata(folder)
    except Exception as error:  # TensorFlow raises whatever it stumbles over
        raise ValueError(f"{folder} cannot be loaded, export it anew: {str(error).partition(chr(10))[0]}") from error
    functions = {name: function for name, function in loaded.signatures.items() if not name.startswith("__")}
    if not functions:
        raise ValueError(f"{folder} has no signatures: it is no bundle.")
    methods = {name: _method(loaded, number, name, function) for name, function in functions.items()}
    version = Version(number, methods, metadata)
    _warm_up(version, folder / WARMUP)
    return version


def _method(loaded, number, name, function):
    specs = function.structured_input_signature[1]
    shapes = [*(spec.shape for spec in specs.values()), *(spec.shape for spec in function.structured_outputs.values())]

    def run(inputs: Arrays) -> Arrays:
        assert loaded is not None  # which keeps the variables alive
        try:
            outputs = function(**{key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()})
            return {key: value.numpy() for key, value in outputs.items()}
        except tf.errors.OpError as error:
            raise RestError(STATUS.get(error.error_code, 500), said(error)) from None

    return Method(
        {key: (np.dtype(spec.dtype.as_numpy_dtype), _shape(spec.shape)) for key, spec in specs.items()},
        Signature((number, name, id(loaded)), run, all(_is_batched(shape) for shape in shapes)),
    )


def _shape(shape):
    return None if shape.rank is None else tuple(shape.as_list())


def _is_batched(shape):
    return bool(shape.rank) and shape[0] is None


def said(error: tf.errors.OpError) -> str:
    """What an error of a graph says, without where in the graph it happened and who called it.

    An Assert gives its data in brackets, one after the other: they read as a sentence.
    """
    message = re.sub(r"\s*\[\[\{?\{?node .*", "", error.message, flags=re.DOTALL)
    message = re.sub(r"\n\s*\[\[.*", "", message, flags=re.DOTALL)
    message = message.strip().rpartition("\n")[2].strip()
    data = re.fullmatch(r"assertion failed: \[(.*)\]", message)
    return data[1].replace("] [", " ") if data else message


def _metadata(folder):
    """The signatures as TensorFlow Serving prints them: protobuf's JSON with all fields, by their own names."""
    message = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    (graph,) = [graph for graph in message.meta_graphs if "serve" in graph.meta_info_def.tags]
    return {
        name: json_format.MessageToDict(
            definition, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for name, definition in sorted(graph.signature_def.items())
    }


def _warm_up(version, path):
    """Plays the requests that the bundle brings: the first of each kind are slow."""
    if not path.is_file():
        return
    from tensorflow_serving.apis import prediction_log_pb2

    for record in tf.data.TFRecordDataset(str(path)).take(MAX_WARMUP).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        method = version.methods.get(request.model_spec.signature_name or "serving_default")
        if method is None or request.inputs.keys() != method.inputs.keys():
            raise ValueError(f"{path}: a request for what this version does not have: {request.model_spec}")
        try:
            method.compute.run({name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()})
        except RestError as error:
            raise ValueError(f"{path}: a warm-up request fails: {error.message}") from None


class Versions:
    """Keeps the latest version of a bundle loaded. Its methods are called in the event loop.

    A version that cannot be loaded is told of once, and the one before it goes on; it is tried again when its file
    changes. Where the folder of the version that answers is gone, it goes on too, unless there are others: then the
    highest of them takes its place.

    Args:
      bundle: the folder of the versions, or of one.
      name: under which clients ask for it.
      metrics: counts what happens.
      trust: whether graphs that touch files or processes are loaded.
      tell: is called with a line of text for each thing that a person may want to know.
    """

    def __init__(
        self, bundle: str | os.PathLike, name: str, metrics: Metrics, *, trust: bool, tell: Callable[[str], object]
    ):
        self.name = name
        self.current: Version | None = None
        self._bundle = Path(bundle)
        self._metrics = metrics
        self._trust = trust
        self._tell = tell
        self._states: dict[int, tuple[str, str]] = {}  # version: its state, and what is wrong
        self._failed: dict[tuple[int, int], str] = {}  # by number and time of the file
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "load")

    async def start(self) -> None:
        """Loads the highest version that can be loaded.

        Raises:
          ValueError: there is none; says why.
        """
        found = await self._in_thread(find, self._bundle)
        for number in sorted(found, reverse=True):
            if await self._load(number, found[number]):
                return
        reasons = list(self._failed.values())
        raise ValueError(
            reasons[0] if reasons else f"{self._bundle} holds no bundle: give the folder that --export_dir named."
        )

    async def watch(self, seconds: float) -> None:
        """Looks for other versions, for ever."""
        while True:
            await asyncio.sleep(seconds)
            found = await self._in_thread(find, self._bundle)
            assert self.current
            latest = max(found, default=self.current.number)
            if latest > self.current.number or (found and self.current.number not in found):
                await self._load(latest, found[latest])

    @contextlib.contextmanager
    def use(self, number: int | None) -> Iterator[Version]:
        """The version that answers; as long as it is used, it stays loaded.

        Raises:
          RestError: 404, there is no such version; 503, none is loaded yet.
        """
        version = self.current
        if version is None:
            raise RestError(503, f"{self.name} is not loaded yet", {"Retry-After": "1"})
        if number is not None and number != version.number:
            raise RestError(404, f"Servable not found for request: Specific({self.name}, {number})")
        version.users += 1
        try:
            yield version
        finally:
            version.users -= 1
            self._unload(version)

    def status(self, number: int | None) -> dict[str, Any]:
        """What TensorFlow Serving says of one version or of all, the latest first.

        Raises:
          RestError: 404, there is none.
        """
        if number is not None and number not in self._states:
            raise RestError(404, f"Could not find version {number} of model {self.name}")
        if not self._states:
            raise RestError(404, f"Could not find any versions of model {self.name}")
        numbers = sorted(self._states, reverse=True) if number is None else [number]
        return {"model_version_status": [_status(number, *self._states[number]) for number in numbers]}

    async def _load(self, number, folder):
        """Whether the version could be loaded; it answers from now on."""
        try:
            key = (number, await self._in_thread(lambda: (folder / "saved_model.pb").stat().st_mtime_ns))
        except OSError:  # gone again
            return False
        if key in self._failed:
            return False
        self._states[number] = ("LOADING", "")
        try:
            version = await self._in_thread(load, number, folder, self._trust)
        except Exception as error:
            reason = str(error).replace("\n", " ")
            self._failed[key] = reason
            self._states[number] = ("END", reason)
            self._metrics.loads.labels("failed").inc()
            if self.current:
                self._tell(f"version {number} cannot be served, {self.current.number} goes on: {reason}")
            return False
        before, self.current = self.current, version
        self._states[number] = ("AVAILABLE", "")
        self._metrics.loads.labels("ok").inc()
        self._metrics.version.set(number)
        if before:
            self._tell(f"version {number} answers now, in the place of {before.number}")
            self._states[before.number] = ("UNLOADING", "")
            self._unload(before)
        self._thread.submit(_settle)
        return True

    def _unload(self, version):
        """Once nobody uses it."""
        if version is self.current or version.users or self._states.get(version.number, ("",))[0] != "UNLOADING":
            return
        self._states[version.number] = ("END", "")
        version.methods = {}
        for number in sorted(number for number, (state, _) in self._states.items() if state == "END")[:-REMEMBERED]:
            del self._states[number]
        self._thread.submit(_settle)

    def _in_thread(self, function, *arguments):
        return asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


def _settle():
    """Frees what was unloaded, and takes what is loaded out of Python's search for circles.

    A SavedModel holds itself in circles, and is so many objects that a search through them stops everything for 0.3 s:
    measured under load, which has one every few seconds, as the 99th percentile of the answers' times.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _status(number, state, wrong):
    status = {"error_code": "UNKNOWN" if wrong else "OK", "error_message": wrong}
    return {"version": str(number), "state": state, "status": status}
