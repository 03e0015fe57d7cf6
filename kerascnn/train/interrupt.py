"""Ctrl-C and SIGTERM while a run is under way: noted, and acted upon where nothing is lost."""

import signal
import sys
import threading


class Interrupted(Exception):
    """A run was asked to stop, and has saved itself.

    Attributes:
      signal: the number of the signal; a shell's exit code for it is 128 more.
    """

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.signal = signum


class Interrupt:
    """While in this context, the first SIGINT or SIGTERM is kept in `signal`; a second one acts as it always does."""

    signal: int | None = None

    def __enter__(self) -> "Interrupt":
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number, frame) -> None:
        self.signal = number
        print("\nStopping: the running steps are finished and saved first.", file=sys.stderr, flush=True)
        self.__exit__()

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
