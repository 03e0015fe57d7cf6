"""One side of a benchmark in a process of its own, which is asked and answers in lines of JSON."""

import dataclasses
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping


class Process:
    """A running side. What goes wrong in it is a RuntimeError that says so.

    Args:
      module: a sibling of this one, which is run with the side as JSON.
      side: a dataclass with a `library`.
      python: the interpreter.
      environment: what is set besides.
    """

    def __init__(self, module: str, side, python: str, environment: Mapping[str, str]):
        self.side = side
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, "-m", f"{__package__}.{module}", json.dumps(dataclasses.asdict(side))],
            env={"TF_CPP_MIN_LOG_LEVEL": "3"} | os.environ | dict(environment),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, text=True,
        )  # fmt: skip

    def tell(self, line: str = "") -> None:
        assert self._process.stdin
        print(line, file=self._process.stdin, flush=True)

    def close(self) -> None:
        """No more will be told."""
        assert self._process.stdin
        self._process.stdin.close()

    def hear(self) -> dict:
        """The next answer; never an error, which is raised."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        said = json.loads(line) if line else {}
        if not said or "error" in said:
            self._process.wait()
            self._stderr.seek(0)
            last = self._stderr.read().decode(errors="replace").strip().splitlines()[-1:]
            self.stop()
            why = said.get("error") or f"its process ended with {self._process.returncode}: {last}"
            raise RuntimeError(f"{self.side.library}: {why}")
        return said

    def stop(self) -> None:
        """Ends it; more than once if need be."""
        if self._stderr.closed:
            return
        with self._process, self._stderr:
            self._process.kill()
