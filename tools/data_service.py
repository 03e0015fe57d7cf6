"""Prepares training images on more machines than the one that trains: a dispatcher, and workers that it gives work to.

python -m tools.data_service dispatcher --port=5050
python -m tools.data_service worker --dispatcher=HOST:5050      on each machine that is to help
kerascnn train RECIPE --data_service=HOST:5050

The workers read the data themselves, under the paths that the training machine has. Nothing here is encrypted or asks
who is calling: keep it inside a network that you trust. Each runs until it is stopped; a worker may come or go at any
time, and what it held when it was killed is counted as lost by the training.
"""

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator

from absl import flags

from kerascnn import console

ROLES = ("dispatcher", "worker")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# A worker that has not been heard of for so long is given no more work.
HEARTBEAT_MS, TIMEOUT_MS = 1_000, 10_000


def main() -> None:
    values = flags.FlagValues()
    flags.DEFINE_integer(
        "port", 0, "where to listen; 0 takes a free one", lower_bound=0, upper_bound=65535, flag_values=values
    )
    flags.DEFINE_string(
        "host", None, "the name under which a worker is reached; none for this machine's own", flag_values=values
    )
    flags.DEFINE_string("dispatcher", None, "for a worker: HOST:PORT of the dispatcher", flag_values=values)
    flags.DEFINE_string(
        "work_dir",
        None,
        "for a dispatcher: its journal's folder, with which it can start again",
        flag_values=values,
    )
    words = console.parse_flags(values, __doc__)
    if len(words) != 1 or words[0] not in ROLES:
        console.fail(f"say which: {' or '.join(ROLES)}.")
    if (words[0] == "worker") != bool(values.dispatcher):
        console.fail("--dispatcher=HOST:PORT is for a worker, and a worker needs it.")
    if words[0] == "worker" and values.work_dir:
        console.fail("--work_dir is for a dispatcher.")
    # While a worker waits for its dispatcher, Python's own handler of Ctrl-C does not get to run.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with console.quiet_start():
        import tensorflow as tf
    try:
        server, address = start(words[0], values)
    except (tf.errors.OpError, OSError) as error:
        console.fail(f"cannot start: {str(error).splitlines()[0]}", 1)
    with signals() as wait:
        print(f"{words[0]} at {address}", flush=True)
        wait()
    del server  # which stops it


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], object]]:
    """Gives a function that returns once SIGINT or SIGTERM has come; after the context, they end the process at once.

    A signal may come just before the main thread begins to wait, or to one of TensorFlow's threads. Python's handlers
    would run when the main thread goes on, which is never, so what is waited for is the byte that Python's C handler
    writes, at once and from any thread.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    with reader, writer:
        signal.set_wakeup_fd(writer.fileno())
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        try:
            yield lambda: reader.recv(1)
        finally:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.set_wakeup_fd(-1)


def start(role, values):
    """(the running server, its address with the port that it has taken)"""
    import tensorflow as tf

    service = tf.data.experimental.service
    if role == "dispatcher":
        server = service.DispatchServer(
            service.DispatcherConfig(
                port=values.port,
                work_dir=values.work_dir,
                fault_tolerant_mode=bool(values.work_dir),
                worker_timeout_ms=TIMEOUT_MS,
            )
        )
        return server, f"{values.host or socket.gethostname()}:{server.target.rpartition(':')[2]}"
    port = values.port or free_port()
    host = values.host or socket.gethostname()
    print(f"looking for the dispatcher at {values.dispatcher}", flush=True)  # it waits for as long as it takes
    server = service.WorkerServer(
        service.WorkerConfig(
            dispatcher_address=values.dispatcher.removeprefix("grpc://"),
            worker_address=f"{host}:{port}",
            port=port,
            heartbeat_interval_ms=HEARTBEAT_MS,
            dispatcher_timeout_ms=TIMEOUT_MS,
        )
    )
    return server, f"{host}:{port}"


def free_port() -> int:
    """A worker must say its address before it listens."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
