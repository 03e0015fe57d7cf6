"""Requests of many clients, joined to batches: bounded, in the order of their arrival, none that nobody waits for."""

import asyncio
import collections
import concurrent.futures
import dataclasses
import math
import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from kerascnn.serve.metrics import Metrics
from kerascnn.serve.rest import RestError

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Signature:
    """What can be computed: a signature of one version.

    Attributes:
      key: no other signature has it.
      run: gives the outputs for inputs, in a thread of its own; raises a RestError where it cannot.
      batched: whether rows are apart from each other, so that requests can be joined and split.
    """

    key: Hashable
    run: Callable[[Arrays], Arrays]
    batched: bool


@dataclasses.dataclass(eq=False)
class _Piece:
    """Rows of one request that are computed together.

    Attributes:
      first: which row of the request its first one is.
      lane: pieces of one lane can be joined: they are of one signature, and their rows of one shape.
    """

    signature: Signature
    inputs: Arrays
    first: int
    rows: int
    pixels: int
    lane: Hashable
    arrived: float
    deadline: float
    future: asyncio.Future


class Batcher:
    """Computes requests in threads, so that the event loop never waits. Its methods are called in the event loop.

    A batch begins when it is full, or when its oldest request has waited for `batch_timeout`; while all threads are
    busy, batches fill up by themselves. Batches are not padded to certain sizes: on a CPU, TensorFlow takes any size as
    it is, and computing rows that nobody asked for would only cost.

    Args:
      metrics: counts what happens.
      max_batch_size: rows of a batch at most; a longer request is computed in pieces of so many.
      batch_timeout: seconds.
      max_queue: rows that wait at most; further requests are told to come again.
      max_pixels: of the images of a batch, all together.
      threads: how many batches are computed at the same time.
      batching: False computes each request by itself.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        max_batch_size: int,
        batch_timeout: float,
        max_queue: int,
        max_pixels: int,
        threads: int,
        batching: bool = True,
    ):
        self._metrics = metrics
        self._max_batch_size = max_batch_size
        self._batch_timeout = batch_timeout
        self._max_queue = max_queue
        self._max_pixels = max_pixels
        self._batching = batching
        self._lanes: dict[Hashable, collections.deque[_Piece]] = {}
        self._waiting = 0  # rows
        self._free = threads
        self._threads = threads
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, "batch")
        self._timer: asyncio.TimerHandle | None = None
        self._seconds_per_row = 0.01  # a guess, until there are measurements

    async def compute(self, signature: Signature, inputs: Arrays, pixels: list[int], deadline: float) -> Arrays:
        """The outputs for a request. When it is cancelled, what has not begun is never computed.

        Args:
          signature: what computes them.
          inputs: by name; of a `batched` signature, with the same first dimension.
          pixels: of the images in each row.
          deadline: the event loop's time at which nobody waits any more.

        Raises:
          RestError: 429 when the queue is full; 504 when the deadline has passed; what `run` raises.
        """
        pieces = self._pieces(signature, inputs, pixels, deadline)
        rows = sum(piece.rows for piece in pieces)
        if self._waiting + rows > self._max_queue:
            seconds = math.ceil(self._waiting * self._seconds_per_row / self._threads)
            raise RestError(
                429,
                f"the server is busy: {self._waiting} images wait already, of {self._max_queue} that may",
                {"Retry-After": str(min(max(seconds, 1), 60))},
            )
        for piece in pieces:
            self._lanes.setdefault(piece.lane, collections.deque()).append(piece)
        self._wait_for(rows)
        self._begin()
        futures = [piece.future for piece in pieces]
        try:
            done, _ = await asyncio.wait(
                futures,
                timeout=max(deadline - asyncio.get_running_loop().time(), 0),
                return_when=asyncio.FIRST_EXCEPTION,
            )
            for future in done:
                future.result()
            if len(done) < len(futures):
                raise RestError(504, "the deadline of the request has passed before it was computed")
            parts = [future.result() for future in futures]
            return {name: _joined([part[name] for part in parts]) for name in parts[0]}
        finally:
            self._forget(pieces)

    def close(self) -> None:
        """Computes no more than what has begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _pieces(self, signature, inputs, pixels, deadline):
        loop = asyncio.get_running_loop()
        now = loop.time()
        shapes = tuple((name, array.shape[1:]) for name, array in sorted(inputs.items()))

        def piece(first, rows, part):
            return _Piece(
                signature,
                part,
                first,
                rows,
                sum(pixels[first : first + rows]),
                (signature.key, shapes),
                now,
                deadline,
                loop.create_future(),
            )

        if not signature.batched:
            return [piece(0, max(len(pixels), 1), inputs)]
        largest = self._max_batch_size if self._batching else len(pixels)
        starts, rows, total = [0], 0, 0
        for i, size in enumerate(pixels):
            if rows and (rows == largest or total + size > self._max_pixels):
                starts.append(i)
                rows, total = 0, 0
            rows, total = rows + 1, total + size
        ends = [*starts[1:], len(pixels)]
        return [
            piece(start, end - start, {name: array[start:end] for name, array in inputs.items()})
            for start, end in zip(starts, ends, strict=True)
        ]

    def _wait_for(self, rows):
        self._waiting += rows
        self._metrics.queue.set(self._waiting)

    def _forget(self, pieces):
        """Takes the pieces of a request out of the queue, those that are still in it."""
        for piece in pieces:
            if piece.future.done() and not piece.future.cancelled():
                piece.future.exception()  # seen, also where another piece's was raised: asyncio would complain
            piece.future.cancel()
            lane = self._lanes.get(piece.lane, ())
            if piece in lane:
                lane.remove(piece)
                self._wait_for(-piece.rows)
                if not lane:
                    del self._lanes[piece.lane]

    def _begin(self):
        """Gives batches to threads while there are any of both."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._free and self._lanes:
            now = loop.time()
            ready = {lane: self._ready_at(pieces) for lane, pieces in self._lanes.items()}
            lane, at = min(ready.items(), key=lambda item: item[1])
            if at > now:
                self._timer = loop.call_at(at, self._begin)
                return
            batch = self._take(lane, now)
            if batch:
                self._free -= 1
                running = loop.run_in_executor(self._pool, _compute, batch)
                running.add_done_callback(lambda running, batch=batch, now=now: self._finish(batch, now, running))

    def _ready_at(self, pieces):
        """When a lane's batch is to begin. Of those that are full, the one that waits longest comes first."""
        first = pieces[0]
        full = sum(piece.rows for piece in pieces) >= self._max_batch_size
        wait = 0.0 if full or not self._batching or not first.signature.batched else self._batch_timeout
        return first.arrived + wait

    def _take(self, lane, now):
        """The pieces of the next batch."""
        pieces, batch, rows, pixels = self._lanes[lane], [], 0, 0
        while pieces:
            piece = pieces[0]
            joins = self._batching and piece.signature.batched
            fits = rows + piece.rows <= self._max_batch_size and pixels + piece.pixels <= self._max_pixels
            if batch and not (joins and fits):
                break
            pieces.popleft()
            self._wait_for(-piece.rows)
            if piece.deadline <= now:
                piece.future.set_exception(RestError(504, "the deadline of the request has passed while it waited"))
                continue
            batch.append(piece)
            rows, pixels = rows + piece.rows, pixels + piece.pixels
        if not pieces:
            del self._lanes[lane]
        if batch:
            self._metrics.batch.observe(rows)
        return batch

    def _finish(self, batch, began, running):
        """Gives the answers to those who wait for them. In the event loop, too."""
        self._free += 1
        seconds = asyncio.get_running_loop().time() - began
        rows = sum(piece.rows for piece in batch)
        self._metrics.batch_seconds.observe(seconds)
        self._seconds_per_row += 0.1 * (seconds / rows - self._seconds_per_row)
        answers = [running.exception()] * len(batch) if running.exception() else running.result()
        for piece, answer in zip(batch, answers, strict=True):
            if piece.future.done():  # nobody waits any more
                continue
            if isinstance(answer, BaseException):
                piece.future.set_exception(answer)
            else:
                piece.future.set_result(answer)
        self._begin()


def _compute(batch: list[_Piece]) -> list[Any]:
    """The outputs for each piece, or what was raised for it. Runs in a thread."""
    if len(batch) == 1:
        return [_alone(batch[0])]
    signature = batch[0].signature
    inputs = {name: _joined([piece.inputs[name] for piece in batch]) for name in batch[0].inputs}
    try:
        outputs = signature.run(inputs)
    except RestError as error:
        if error.status != 400:
            return [error] * len(batch)
        # One of them is bad, and the others are not to suffer from it.
        return [_alone(piece) for piece in batch]
    ends = np.cumsum([piece.rows for piece in batch])
    return [
        {name: array[end - piece.rows : end] for name, array in outputs.items()}
        for piece, end in zip(batch, ends, strict=True)
    ]


def _alone(piece):
    if piece.future.done():
        return RestError(504, "nobody waits for this any more")
    try:
        return piece.signature.run(piece.inputs)
    except Exception as error:
        return _renumbered(error, piece)


def _renumbered(error, piece):
    """An error that names a row of the piece, as `image_bytes[3]`, is to name the row of the request."""
    if not isinstance(error, RestError) or not piece.first:
        return error
    names = "|".join(map(re.escape, piece.inputs))
    message = re.sub(rf"\b({names})\[(\d+)\]", lambda m: f"{m[1]}[{int(m[2]) + piece.first}]", error.message)
    return RestError(error.status, message, error.headers)


def _joined(arrays):
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def batch_rows(inputs: Mapping[str, np.ndarray]) -> int | None:
    """The common first dimension of inputs; None where there is none."""
    lengths = {array.shape[:1] for array in inputs.values()}
    return lengths.pop()[0] if len(lengths) == 1 and () not in lengths else None
