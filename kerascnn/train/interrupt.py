"""Ctrl-C and SIGTERM while a run is under way: noted, and acted upon where nothing is lost; and lost workers."""

import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

GRACE_SECONDS = 60.0  # for the running call, then a checkpoint
AGAIN_SECONDS = 5.0  # after a second signal, for Python to act upon it

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """A run was asked to stop, and has saved itself.

    Attributes:
      signal: the number of the signal; a shell's exit code for it is 128 more.
    """

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.signal = signum


class Interrupt:
    """While in this context, the first SIGINT or SIGTERM is kept in `signal`; a second one acts as it always does.

    Python calls a handler only when the main thread is back in Python, and one that waits for a worker that does not
    answer never is. So a thread watches, too: it ends the process, with the exit code of the signal, when the context
    is not left in time. In a thread other than the main one, signals are left alone.

    Args:
      grace: how many seconds the context has to be left in after the signal.
    """

    signal: int | None = None

    def __init__(self, grace: float = GRACE_SECONDS):
        self._grace = grace
        self._handlers: dict[int, Any] = {}
        self._watchdog: threading.Thread | None = None

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is not threading.main_thread():  # Python allows handlers nowhere else
            return self
        self._received, self._written = socket.socketpair()
        self._written.setblocking(False)
        # The part of Python's handling that needs no Python: it writes each signal's number here, wherever it comes.
        self._descriptor = signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
        self._watchdog = threading.Thread(target=self._watch, name="interrupt", daemon=True)
        self._watchdog.start()
        for number in SIGNALS:
            self._handlers[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame) -> None:
        self.signal = number
        self._put_back()  # now, so that a second one acts
        print("\nStopping: the running steps are finished and saved first.", file=sys.stderr, flush=True)

    def _put_back(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def __exit__(self, *_) -> None:
        if self._watchdog is None:
            return
        self._put_back()
        signal.set_wakeup_fd(self._descriptor)
        self._written.close()  # which the watchdog sees
        self._watchdog.join()
        self._received.close()

    def _watch(self) -> None:
        end_at, last = None, 0
        while True:
            self._received.settimeout(None if end_at is None else max(end_at - time.monotonic(), 0.001))
            try:
                numbers = self._received.recv(64)
            except TimeoutError:
                # Not by sys.stderr, whose lock the main thread may hold.
                os.write(2, b"error: the run has not stopped in time, so it was ended; its last checkpoint is whole.\n")
                os._exit(128 + last)
            if not numbers:
                return
            for number in numbers:
                if number in SIGNALS:
                    wait = self._grace if end_at is None else AGAIN_SECONDS
                    end_at, last = min(end_at or float("inf"), time.monotonic() + wait), number


def explain_lost_worker(error: Exception, addresses: Sequence[str]) -> str | None:
    """What to say of an error of TensorFlow that came because another worker is gone; None for any other error.

    TensorFlow's coordination service notices a closed connection at once, and within about 10 s a worker that does not
    answer: its C++ threads answer also while a worker compiles or waits. Its texts are all that there is to go by.

    Args:
      error: a `tf.errors.OpError`.
      addresses: HOST:PORT of each worker.
    """
    numbers = [number for number in _lost_workers(str(error)) if number < len(addresses)]
    if not numbers:
        return None
    names = " and ".join(f"worker {number} ({addresses[number]})" for number in numbers)
    return (
        f"{names} {'is' if len(numbers) == 1 else 'are'} gone: ended, killed, or not answering (see what was written "
        "there). Start all workers again: the run goes on from its last checkpoint."
    )


def _lost_workers(text):
    """Which workers such a text is about, in order."""
    task = r"/job:worker/(?:replica:0/)?task:(\d+)"
    if heartbeats := re.search(rf"stopped sending heartbeats\):((?:\s*{task})+)", text):
        return sorted({int(number) for number in re.findall(task, heartbeats[1])})
    # Where one after the other has given up, the first one that is named is the one that began.
    if remote := re.search(rf"remote target {task}", text):
        return [int(remote[1])]
    if reported := re.search(rf"Error reported from {task}", text):
        return [int(reported[1])]
    return [0] if "/tensorflow.CoordinationService/" in text else []  # which worker 0 runs
