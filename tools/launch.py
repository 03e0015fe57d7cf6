"""Trains a recipe with several workers on this machine, as many machines would: each worker is a process.

python -m tools.launch --workers=2 -- digits_lenet5 --epochs=3
kerascnn launch --workers=2 -- digits_lenet5 --epochs=3      where kerascnn is installed

What follows `--` is a recipe and its flags; --strategy=multi_worker is added. Each line that a worker writes comes out
behind its number, `[0] `. Ctrl-C and SIGTERM are passed on to all workers, which save the run and end. When one fails,
the others are ended, and this ends with the failed one's exit code.

The workers share the processor's cores, unless TF_NUM_INTRAOP_THREADS says how many each takes.
"""

import contextlib
import ctypes
import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

from absl import flags

from kerascnn import cli, console
from kerascnn.registry import close_names

KILL_SECONDS = 15.0  # from SIGTERM to SIGKILL, when another worker has failed
PORTS = range(20_000, 30_000)  # below those that the system gives to others


def main() -> None:
    values = flags.FlagValues()
    flags.DEFINE_integer("workers", 2, "how many processes", lower_bound=1, upper_bound=64, flag_values=values)
    words = console.parse_flags(values, __doc__)
    if not words or words[0].startswith("-"):
        console.fail(f"give a recipe behind `--`: {', '.join(cli.names('recipes'))}.")
    recipe, arguments = words[0], words[1:]
    if recipe not in cli.names("recipes"):
        console.fail(f"no recipe {recipe!r}: {close_names(recipe, cli.names('recipes'))}")
    for argument in arguments:
        name = argument.lstrip("-").partition("=")[0]
        if argument.startswith("-") and name in ("strategy", "workers", "worker_index", "tpu"):
            console.fail(f"--{name} is set here: leave it out.")
    command = [sys.executable, "-m", f"{cli.package('recipes')}.{recipe}", *arguments, "--strategy=multi_worker"]
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends the workers, too
    sys.exit(run_all([command] * values.workers, environments(values.workers)))


def environments(workers: int) -> list[dict[str, str]]:
    """What each of so many workers on this machine finds in its environment, beside what is in ours."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    common = {"PYTHONUNBUFFERED": "1", "TF_NUM_INTRAOP_THREADS": str(max(1, (os.cpu_count() or 1) // workers))}
    return [
        {
            **common,
            **os.environ,
            "TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}),
        }
        for index in range(workers)
    ]


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens now."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        for port in random.sample(PORTS, len(PORTS)):
            if len(found) == count:
                break
            probe = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("", port))
                found.append(port)
    return found


def run_all(commands: Sequence[Sequence[str]], environments: Sequence[Mapping[str, str]]) -> int:
    """Runs commands side by side until all have ended, and returns the exit code of the first that failed, else 0.

    Their lines come out on stdout and stderr, whole, each behind `[NUMBER] `. SIGINT and SIGTERM are passed on to all.
    None outlives this process, whatever ends it (on Linux).

    Args:
      commands: programs with their arguments.
      environments: one for each of them.
    """
    ended: queue.Queue[tuple[int, int]] = queue.Queue()
    lock = threading.Lock()
    asked: list[int] = []
    processes: list[subprocess.Popen[bytes]] = []
    threads = []

    def pass_on(number, frame):
        asked.append(number)
        send_all(processes, number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for index, (command, environment) in enumerate(zip(commands, environments, strict=True)):
            processes.append(start(command, environment))
            threads.append(threading.Thread(target=follow, args=(index, processes[index], lock, ended)))
            threads[index].start()
        if asked:  # while some were not there yet
            send_all(processes, asked[-1])
        return wait_for_all(processes, ended, asked)
    finally:
        send_all(processes, signal.SIGKILL)
        for thread in threads:
            thread.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_for_all(processes, ended, asked):
    """The exit code. Workers that were asked to end take the time they need: each has a limit of its own."""
    failed, timer = None, None
    for _ in processes:
        index, code = ended.get()
        if code and failed is None:
            failed = index, code
            if not asked:
                end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                others = "; the others are ended" if len(processes) > 1 else ""
                console.note(f"error: worker {index} {end}{others}.")
                send_all(processes, signal.SIGTERM)
                timer = threading.Timer(KILL_SECONDS, send_all, (processes, signal.SIGKILL))
                timer.daemon = True
                timer.start()
    if timer:
        timer.cancel()
    if failed is None:
        return 0
    return failed[1] if failed[1] > 0 else 128 - failed[1]


def start(command, environment):
    """A process in a group of its own, so that a terminal's Ctrl-C reaches it once: from us."""
    parent = os.getpid()
    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux has it

    def end_with_parent():
        if prctl:
            prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            if os.getppid() != parent:
                os._exit(1)

    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
        preexec_fn=end_with_parent,
    )


def send_all(processes, number):
    """Sends a signal to those that have not ended, and to what they have started."""
    for process in processes:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)


def follow(index, process, lock, ended):
    """Passes a process's lines on until it has ended, then tells how."""
    copies = [
        threading.Thread(target=copy, args=(f"[{index}] ".encode(), source, target.fileno(), lock))
        for source, target in ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
    ]
    for thread in copies:
        thread.start()
    code = process.wait()
    with contextlib.suppress(ProcessLookupError):  # nothing that it started outlives it, or keeps its pipes open
        os.killpg(process.pid, signal.SIGKILL)
    for thread in copies:
        thread.join()
    ended.put((index, code))


def copy(prefix, source, target, lock):
    with source:
        for line in source:
            with lock:
                data = prefix + line.rstrip(b"\n") + b"\n"
                while data:
                    data = data[os.write(target, data) :]


if __name__ == "__main__":
    main()
