"""How our commands behave on a terminal: their flags, what they silence, how they end. Not for the library."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from typing import NoReturn

from absl import flags

# What TensorFlow writes at every start. Its log level has no say over the first lines, which come before its logging
# is set up, so they are caught on their way to the terminal; everything else is passed on.
_CHATTER = re.compile(
    rb"^(I0000 |WARNING: All log messages before absl::InitializeLog|To enable the following instructions|\s*$"
    rb"|fully_quantize: |INFO: Created TensorFlow Lite)"  # the converter to LiteRT, and its interpreter
)

# What Keras imports because it is installed, for parts of Keras that no command of ours uses: a second of each start.
_UNUSED = ("matplotlib", "sklearn")


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Around what a command first needs TensorFlow for: imports Keras, holds back greetings and quiets the log.

    A `TF_CPP_MIN_LOG_LEVEL` in the environment is respected; with 0, nothing is held back.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        _import_keras()
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            _import_keras()
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            sys.stderr.write(b"".join(line for line in held if not _CHATTER.match(line)).decode(errors="replace"))


def _import_keras() -> None:
    """Imports Keras, and its backend, as if `_UNUSED` were not installed; others may import these afterwards."""
    hidden = [name for name in _UNUSED if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # so that importing it is an ImportError
    try:
        import keras  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]


def note(message: object) -> None:
    """Writes a line on stderr."""
    print(message, file=sys.stderr, flush=True)


def fail(message: object, code: int = 2) -> NoReturn:
    """Ends the process with one line on stderr: 2 for input that is wrong, 1 for what went wrong on the way."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


def parse_flags(values: flags.FlagValues, usage: str, argv: list[str] | None = None) -> list[str]:
    """Reads the command line into `values` and returns what is left over: the words that are not flags.

    `--help` prints the usage and every flag, and ends the process; a wrong flag ends it with 2 and the close names.

    Args:
      values: flags of the command's own, apart from absl's global ones.
      usage: what the command does and how it is called.
      argv: the program's name and its arguments; None for the process's own.
    """
    flags.DEFINE_boolean("help", False, "show this", short_name="h", flag_values=values)
    try:
        rest = values(sys.argv if argv is None else argv)[1:]
    except flags.Error as error:
        fail(f"{error} (--help shows all flags)".replace("\n", " "))
    if values.help:
        print(usage.strip())
        names = [name for name in values if len(name) > 1 and name != "help"]
        if names:
            print("\nFlags:")
        for name in names:
            value = "" if values[name].value is None else values[name].value
            print(f"  --{name}={value}\n      {values[name].help}")
        sys.exit(0)
    return rest
