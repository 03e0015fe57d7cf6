"""Serves a bundle over HTTP on one machine, as TensorFlow Serving's REST API does, with a page to try it.

Starlette and uvicorn speak HTTP; here is what an answer is, and the bounds of what a client may ask for.
"""

import asyncio
import base64
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import importlib.resources
import logging
import re
import socket
import time
from collections.abc import Callable
from typing import Any

import jinja2
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from kerascnn.serve import image_size, rest
from kerascnn.serve.batching import Batcher, batch_rows
from kerascnn.serve.metrics import CONTENT_TYPE, Metrics
from kerascnn.serve.rest import RestError
from kerascnn.serve.versions import Versions

# Smaller bodies, and answers of fewer numbers, take less time than handing them to a thread.
INLINE_BYTES, INLINE_VALUES = 2**16, 2**12
LINGER_SECONDS = 5  # that a client may go on sending what has been refused
UNREAD_MILLISECONDS = 60_000  # after which a client that does not read its answer is given up

_MODEL = re.compile(r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+))?(?P<rest>/metadata|:[a-z]+)?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Options:
    """How a bundle is served; the flags of `kerascnn serve`.

    Attributes:
      name: under which clients ask for the model.
      batching: whether requests that come at the same time are joined.
      max_batch_size: images that are computed together.
      batch_timeout: milliseconds that a request waits for others to join it.
      threads: batches that are computed at the same time.
      max_queue: images that wait.
      max_instances: images of a request; not more than may wait.
      max_request_bytes: of a request's body.
      max_held_bytes: of all bodies that are in memory.
      max_pixels: of an image, and of all images of a batch.
      max_connections: that are open at the same time.
      timeout_ms: from a request's last byte to its answer.
      read_seconds: from a request's first byte to its last.
      grace_seconds: from SIGTERM to the end.
      poll_seconds: between two looks for a new version.
      access_log: whether each request is told of.
      trust: whether graphs that touch files or processes are loaded.
    """

    name: str
    batching: bool
    max_batch_size: int
    batch_timeout: float
    threads: int
    max_queue: int
    max_instances: int
    max_request_bytes: int
    max_held_bytes: int
    max_pixels: int
    max_connections: int
    timeout_ms: float
    read_seconds: float
    grace_seconds: float
    poll_seconds: float
    access_log: bool
    trust: bool


def serve(
    bundle: str,
    listener: socket.socket,
    options: Options,
    *,
    ready: Callable[[str], object],
    tell: Callable[[str], object],
) -> None:
    """Serves until SIGINT or SIGTERM, and returns when what was begun is finished.

    The caller's handlers of these two signals run after that.

    Args:
      bundle: the folder of the versions, or of one.
      listener: a socket that listens.
      options: how.
      ready: is called with a line of text once the first version answers.
      tell: is called with a line of text for what happens later.

    Raises:
      ValueError: no version can be loaded.
    """
    # Connections inherit both. An answer's head and body are sent one after the other: without the first, the body
    # would wait 40 ms for the head to be acknowledged. asyncio sets it itself, but not for sockets that it is given.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MILLISECONDS)
    asyncio.run(_serve(bundle, listener, options, ready, tell))


async def _serve(bundle, listener, options, ready, tell):
    metrics = Metrics()
    versions = Versions(bundle, options.name, metrics, trust=options.trust, tell=tell)
    api = Api(versions, metrics, options)
    server = uvicorn.Server(
        uvicorn.Config(
            _Measured(api, metrics),
            http=_protocol(options.read_seconds),
            ws="none",
            lifespan="off",
            log_config=_log_config(),
            access_log=options.access_log,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=options.max_connections,
            timeout_graceful_shutdown=options.grace_seconds,
        )
    )

    async def keep_loaded():
        try:
            await versions.start()
        except Exception:
            server.should_exit = True
            raise
        assert versions.current
        signatures = ", ".join(sorted(versions.current.methods))
        host, port = listener.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        ready(f"{options.name}, version {versions.current.number}, at http://{host}:{port} (signatures: {signatures})")
        await versions.watch(options.poll_seconds)

    keeper = asyncio.create_task(keep_loaded())
    try:
        await server.serve(sockets=[listener])
    finally:
        keeper.cancel()
        api.close()
    if keeper.done():
        keeper.result()


def _log_config():
    """uvicorn's own, but of its errors only those that are the server's fault."""
    config = {**uvicorn.config.LOGGING_CONFIG, "disable_existing_loggers": False}
    return config | {"loggers": config["loggers"] | {"uvicorn.error": {"level": "ERROR"}}}


class Api:
    """The application: an answer for each request."""

    def __init__(self, versions: Versions, metrics: Metrics, options: Options):
        self._versions = versions
        self._metrics = metrics
        self._options = options
        self._held = 0  # bytes of bodies
        self._page, self._policy = page(options.name)
        # One at a time: Python reads JSON with its lock held, so a second one would only take memory.
        self._parser = concurrent.futures.ThreadPoolExecutor(1, "json")
        self._batcher = Batcher(
            metrics,
            max_batch_size=options.max_batch_size,
            batch_timeout=options.batch_timeout / 1000,
            max_queue=options.max_queue,
            max_pixels=options.max_pixels,
            threads=options.threads,
            batching=options.batching,
        )

    def close(self) -> None:
        """Computes no more."""
        self._batcher.close()
        self._parser.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except RestError as error:
            response = Response(error.body(), error.status, error.headers, "application/json")
            _forget_origin(error)
        except ClientDisconnect:
            scope["state"]["code"] = 499  # nginx's, for the metrics
            return
        except Exception as error:
            logging.getLogger("uvicorn.error").exception("a request failed")
            failure = RestError(500, "the server failed; its log says why")
            response = Response(failure.body(), failure.status, media_type="application/json")
            _forget_origin(error)
        await response(scope, receive, send)

    async def _answer(self, request):
        path, state = request.url.path, request.scope["state"]
        simple = {"/": self._show_page, "/healthz": self._health, "/readyz": self._ready, "/metrics": self._count}
        if path in simple:
            state["endpoint"] = path.strip("/") or "page"
            _allow(request, "GET", "HEAD")
            return simple[path]()
        match = _MODEL.fullmatch(path)
        if not match:
            malformed = f"Malformed request: {request.method} {path[: rest.LONGEST_QUOTE]}"
            raise RestError(400 if path.startswith("/v1/") else 404, malformed)
        number = int(match["version"]) if match["version"] else None
        if number is not None and number >= 2**63:
            raise RestError(400, f"Failed to convert version: {match['version'][:99]} to numeric.")
        if match["rest"] in (None, "/metadata"):
            state["endpoint"] = "metadata" if match["rest"] else "status"
            _allow(request, "GET", "HEAD")
            return self._metadata(match["name"], number) if match["rest"] else self._status(match["name"], number)
        state["endpoint"] = "predict"
        _allow(request, "POST")
        if match["rest"] != ":predict":
            raise RestError(400, f"{match['rest']} is not served, only :predict is")
        return await self._predict(request, match["name"], number)

    def _show_page(self):
        return Response(self._page, headers={"Content-Security-Policy": self._policy}, media_type="text/html")

    def _health(self):
        return Response("alive\n", media_type="text/plain")

    def _ready(self):
        with self._versions.use(None) as version:
            return Response(f"version {version.number}\n", media_type="text/plain")

    def _count(self):
        return Response(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    def _status(self, name, number):
        if name != self._options.name:
            what = "any versions" if number is None else f"version {number}"
            raise RestError(404, f"Could not find {what} of model {name}")
        return _json(rest.encode(self._versions.status(number)))

    def _metadata(self, name, number):
        self._check_name(name, number)
        with self._versions.use(number) as version:
            content = {
                "model_spec": {"name": name, "signature_name": "", "version": str(version.number)},
                "metadata": {"signature_def": {"signature_def": version.metadata}},
            }
        return _json(rest.encode(content))

    def _check_name(self, name, number):
        if name != self._options.name:
            what = f"Latest({name})" if number is None else f"Specific({name}, {number})"
            raise RestError(404, f"Servable not found for request: {what}")

    async def _predict(self, request, name, number):
        self._check_name(name, number)
        arrived = time.perf_counter()
        timeout = rest.deadline_ms(request.headers.get("x-request-timeout"), self._options.timeout_ms) / 1000
        with contextlib.ExitStack() as held:
            body = await self._body(request, held)
            deadline = asyncio.get_running_loop().time() + timeout
            answer = asyncio.ensure_future(self._prediction(body, number, deadline))
            gone = asyncio.ensure_future(_gone(request))
            try:
                await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not answer.done():
                    raise ClientDisconnect
                content = answer.result()
            finally:
                await _cancel(answer, gone)
        milliseconds = 1000 * (time.perf_counter() - arrived)
        return _json(content, {"Server-Timing": f"total;dur={milliseconds:.1f}"})

    async def _prediction(self, body, number, deadline):
        """The body of the answer."""
        content = await self._aside(len(body) > INLINE_BYTES, deadline, rest.parse, body)
        signature = rest.signature_name(content)
        with self._versions.use(number) as version:
            method = version.methods.get(signature)
            if method is None:
                known = ", ".join(sorted(version.methods))
                raise RestError(
                    400,
                    f'Serving signature name: "{signature[: rest.LONGEST_QUOTE]}" not found in signature def. '
                    f"There are {known}",
                )
            large = len(body) > INLINE_BYTES
            inputs, by_rows, pixels = await self._aside(large, deadline, self._read, content, method)
            del content
            outputs = await self._batcher.compute(method.compute, inputs, pixels, deadline)
        large = sum(array.size for array in outputs.values()) > INLINE_VALUES
        return await self._aside(large, deadline, rest.write_outputs, outputs, by_rows)

    async def _aside(self, large, deadline, function, *arguments):
        """A function's result; in a thread where it takes long."""
        if not large:
            return function(*arguments)
        running = asyncio.get_running_loop().run_in_executor(self._parser, function, *arguments)
        try:
            async with asyncio.timeout_at(deadline):
                return await running
        except TimeoutError:
            raise RestError(504, "the deadline of the request has passed before it was read") from None

    def _read(self, content, method):
        """(the inputs, whether they came row by row, the pixels of each row)"""
        inputs, by_rows = rest.read_inputs(content, method.inputs)
        rows = batch_rows(inputs)
        if method.compute.batched and rows is None:
            raise RestError(400, "the inputs must have a common first dimension")
        rows = max(rows or 1, 1)
        if rows > self._options.max_instances:
            raise RestError(400, f"{rows:,} instances are more than {self._options.max_instances:,} (--max_instances)")
        pixels = [0] * rows
        largest = self._options.max_pixels
        for name, array in inputs.items():
            if array.dtype.kind == "O" and array.ndim:
                for i, row in enumerate(array.reshape(len(array), -1)):
                    costs = image_size.cost(row.tolist(), largest)
                    if max(costs, default=0) > largest:
                        raise RestError(
                            400,
                            f"{name}[{i}]: an image of {max(costs):,} pixels; this server takes up to {largest:,} "
                            "(--max_pixels)",
                        )
                    pixels[i] += sum(costs)
        return inputs, by_rows, pixels

    async def _body(self, request, held):
        """The body of a request, counted as long as `held` is open."""
        if request.headers.get("content-encoding", "identity") != "identity":
            raise RestError(415, "the body is compressed: send it as it is", {"Connection": "close"})
        largest = self._options.max_request_bytes
        length = request.headers.get("content-length", "0")
        if int(length) > largest and request.headers.get("expect", "").lower() == "100-continue":
            raise _too_large(largest)  # it has not been sent yet, and never will be
        body = bytearray()
        held.callback(lambda: self._hold(-len(body)))
        try:
            async with asyncio.timeout(self._options.read_seconds):
                chunks = _chunks(request)
                async for chunk in chunks:
                    body += chunk
                    self._hold(len(chunk))
                    if len(body) > largest:
                        await self._linger(chunks)
                        raise _too_large(largest)
                    if self._held > self._options.max_held_bytes:
                        await self._linger(chunks)
                        busy = "the server is busy: it holds as many bytes of requests as it may (--max_held_bytes)"
                        raise RestError(429, busy, {"Retry-After": "1", "Connection": "close"})
        except TimeoutError:
            late = f"the body has not arrived within {self._options.read_seconds:g} s"
            raise RestError(408, late, {"Connection": "close"}) from None
        return body

    async def _linger(self, chunks):
        """Throws away what a refused client goes on sending: it reads the answer only after that. For a while."""
        thrown = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                async for chunk in chunks:
                    thrown += len(chunk)
                    if thrown > self._options.max_request_bytes:
                        return

    def _hold(self, count):
        self._held += count
        self._metrics.held.set(self._held)


async def _chunks(request):
    """The body as it comes."""
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def _gone(request):
    """Returns when the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _too_large(largest):
    return RestError(413, f"the body is larger than {largest:,} bytes (--max_request_bytes)", {"Connection": "close"})


def _allow(request, *methods):
    if request.method not in methods:
        raise RestError(
            405, f"{request.method} is not what this answers: {methods[0]} is", {"Allow": ", ".join(methods)}
        )


def _forget_origin(error):
    """Lets go of what was on the way of an error: the body of its request, its tensors.

    Futures keep their errors, and the functions in an error's traceback keep their futures: such circles are freed when
    Python looks for them, which is seldom where a large model is loaded. Measured, 0.5 GB of bodies had gathered.
    """
    error.__traceback__ = error.__context__ = error.__cause__ = None


def _json(body, headers=None):
    return Response(body, headers=headers, media_type="application/json")


async def _cancel(*tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def page(name: str) -> tuple[bytes, str]:
    """The page for a model of this name, and the Content-Security-Policy under which it works.

    The policy knows its script and its style by their hashes, and allows nothing from elsewhere.
    """
    template = importlib.resources.files("kerascnn.serve").joinpath("page.html").read_text("utf-8")
    text = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(template).render(name=name)

    def digest(tag):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    policy = {
        "default-src": "'none'",
        "script-src": digest("script"),
        "style-src": digest("style"),
        "img-src": "blob: data:",  # thumbnails, and the icon that there is none
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return text.encode(), "; ".join(f"{key} {value}" for key, value in policy.items())


class _Measured:
    """Counts the requests of an application and the seconds that they take."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state: dict[str, Any] = {"endpoint": "other", "code": 500}
        scope["state"] = state
        began = time.perf_counter()

        async def watched(message):
            if message["type"] == "http.response.start":
                state["code"] = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._metrics.requests.labels(state["endpoint"], state["code"]).inc()
            self._metrics.seconds.labels(state["endpoint"]).observe(time.perf_counter() - began)


def _protocol(seconds: float) -> type[H11Protocol]:
    """uvicorn's HTTP, which waits for ever for a request's head, with an end to that."""

    class Protocol(H11Protocol):
        head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport):
            super().connection_made(transport)
            self.await_head()

        def data_received(self, data):
            super().data_received(data)
            self.await_head()

        def connection_lost(self, exc):
            super().connection_lost(exc)
            self.stop_waiting()

        def await_head(self):
            idle = self.cycle is None or self.cycle.response_complete
            if not idle:
                self.stop_waiting()
            elif self.head_timer is None:
                self.head_timer = self.loop.call_later(seconds, self.transport.abort)

        def stop_waiting(self):
            if self.head_timer:
                self.head_timer.cancel()
                self.head_timer = None

    return Protocol
