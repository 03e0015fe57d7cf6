"""Answers requests for predictions over HTTP, as TensorFlow Serving does, and shows a page to try it at /.

kerascnn serve --bundle=EXPORT_DIR --port=8501
curl http://127.0.0.1:8501/v1/models/NAME:predict -d '{"instances": [{"b64": "..."}]}'

The API is TensorFlow Serving's REST API. NAME is the folder's, unless --name says another. A new version in the folder
takes the place of the one before without an interruption. /healthz and /readyz are for supervisors, /metrics is for
Prometheus. SIGTERM ends it when what has begun is finished. Nothing is encrypted, and nobody is asked who they are:
with another --host than this machine's own, keep it inside a network that you trust.
"""

import ctypes
import ipaddress
import os
import re
import resource
import signal
import socket
from pathlib import Path

from absl import flags

from kerascnn import console

# fmt: off
OPTIONS: dict[str, tuple[bool | int | float, float, str]] = {  # name: (default, lowest value, help)
    "batching":          (True, 0, "join requests that come at the same time"),
    "max_batch_size":    (16, 1, "images that are computed together, at most"),
    "batch_timeout":     (0.0, 0, "milliseconds that a request waits for others, while a thread is free"),
    "threads":           (1, 1, "batches that are computed at the same time; TensorFlow uses all cores for one"),
    "max_queue":         (1024, 1, "images that wait, at most; then clients are told to come again (429)"),
    "max_instances":     (256, 1, "images of a request, at most"),
    "max_request_bytes": (2**25, 1, "of a request's body, at most (413)"),
    "max_held_bytes":    (2**29, 1, "of all bodies that are in memory, at most (429)"),
    "max_pixels":        (2**25, 1, "of an image, and of all that are decoded together in a batch, at most"),
    "max_connections":   (1000, 1, "open connections, at most (503)"),
    "timeout_ms":        (30_000.0, 1, "from a request's last byte to its answer, at most (504)"),
    "read_seconds":      (30.0, 0.1, "that a client may take to send a request (408)"),
    "grace_seconds":     (30.0, 0, "for what has begun to be finished, after SIGTERM"),
    "poll_seconds":      (1.0, 0.01, "between two looks for a new version"),
    "access_log":        (False, 0, "write a line for each request"),
    "trust":             (False, 0, "load a graph that touches files or processes, too"),
}
# fmt: on

MALLOC = {"TRIM_THRESHOLD": -1, "MMAP_THRESHOLD": -3}  # https://man7.org/linux/man-pages/man3/mallopt.3.html
LARGE_BYTES = 2**22


def main() -> None:
    # Before the server takes them, and again when it has finished: it hands on the signal that ended it. Threads that
    # still load or compute do not hold this up.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    values = flags.FlagValues()
    flags.DEFINE_string("bundle", None, "the folder of a bundle, or of one version of it", flag_values=values)
    flags.DEFINE_string("host", "127.0.0.1", "the address to listen at; 0.0.0.0 for all", flag_values=values)
    flags.DEFINE_integer(
        "port", 8501, "where to listen; 0 takes a free one", lower_bound=0, upper_bound=65535, flag_values=values
    )
    flags.DEFINE_string("name", None, "the model's name; none for the folder's", flag_values=values)
    for name, (default, lowest, text) in OPTIONS.items():
        if isinstance(default, bool):
            flags.DEFINE_boolean(name, default, text, flag_values=values)
        elif isinstance(default, int):
            flags.DEFINE_integer(name, default, text, lower_bound=int(lowest), flag_values=values)
        else:
            flags.DEFINE_float(name, default, text, lower_bound=lowest, flag_values=values)
    rest = console.parse_flags(values, __doc__)
    if rest or not values.bundle:
        console.fail("give --bundle=DIR, the folder that --export_dir named.")
    if values.max_instances > values.max_queue:
        console.fail("--max_queue is below --max_instances: the largest requests could never be answered.")
    model = values.name or name_of(Path(values.bundle))
    if not re.fullmatch(r"[^/:?#\s]+", model):
        console.fail(f"{model!r} cannot stand in an address: give a --name without /, :, ?, # and spaces.")
    try:
        listener = listen(values.host, values.port)
    except OSError as error:
        reason = str(error.strerror).partition(" (while ")[0]  # Python repeats the address there
        console.fail(f"cannot listen at {values.host}:{values.port} ({reason}): give another --port or --host.")
    allow_connections(values.max_connections)
    give_memory_back()
    with console.quiet_start():
        from kerascnn.serve.server import Options, serve
    options = Options(model, **{name: getattr(values, name) for name in OPTIONS})
    try:
        serve(values.bundle, listener, options, ready=lambda line: print(line, flush=True), tell=console.note)
    except ValueError as error:
        console.fail(error)


def give_memory_back():
    """Has the C library hand the memory of large bodies back to the system as soon as they are answered.

    By itself, glibc learns from the first of them to keep up to 64 MB at a time, and then what is small settles among
    it. Tensors are none of its business: oneDNN keeps a pool for them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for name, number in MALLOC.items():
        if mallopt and f"MALLOC_{name}_" not in os.environ:
            mallopt(number, LARGE_BYTES)


def name_of(bundle):
    """What a bundle is called: as its folder, also where the folder of one version is given."""
    folder = bundle.resolve()
    is_version = folder.name.isdecimal() and (folder / "saved_model.pb").is_file()
    return folder.parent.name if is_version else folder.name


def listen(host, port):
    """A socket that listens, before anything slow is done."""
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:  # a name
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family, backlog=1024)


def allow_connections(count):
    """As many open files as these connections need, where the system lets us."""
    needed = count + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


if __name__ == "__main__":
    main()
