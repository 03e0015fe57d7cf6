"""Which processes train a run together, and waiting until all of them are there. Imports no TensorFlow.

TensorFlow itself holds Python's lock while it waits for the other workers, for an hour if it has to: no line can be
written meanwhile and no Ctrl-C is heard. So they are waited for here, before it is asked to join them.
"""

import contextlib
import dataclasses
import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping

from kerascnn import console

WAIT_SECONDS = 600.0  # for the others to come
PATIENCE_SECONDS = 5.0  # before the first word about it
REMIND_SECONDS = 60.0  # between later ones

WAYS = (
    "say who trains: --workers=HOST:PORT,HOST:PORT --worker_index=I, or the environment variable TF_CONFIG, "
    "or start with Slurm's srun; `python -m tools.launch` does it for workers on one machine."
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a run, and which of them this process is.

    Attributes:
      addresses: HOST:PORT of each worker, in the same order everywhere. Worker 0 is the one that writes files.
      index: which one is this process.
      origin: what says so, for messages.

    Raises:
      ValueError: an address that is none or is given twice, or an index without an address.
    """

    addresses: tuple[str, ...]
    index: int
    origin: str

    def __post_init__(self) -> None:
        for address in self.addresses:
            match = re.fullmatch(r"[A-Za-z0-9_.-]+:([0-9]{1,5})", address)
            if not match or not 1 <= int(match[1]) <= 65535:
                raise ValueError(f"{self.origin}: {address!r} is not HOST:PORT with a port from 1 to 65535.")
            if self.addresses.count(address) > 1:
                raise ValueError(f"{self.origin} has {address} twice: each worker needs a port of its own.")
        if not 0 <= self.index < len(self.addresses):
            raise ValueError(
                f"{self.origin}: there is no worker {self.index} among {len(self.addresses)}: they count from 0."
            )


def check_flags(strategy: str, *, workers: str = "", worker_index: int | None = None, tpu: str = "") -> None:
    """Passes if these flags of a run fit each other.

    Raises:
      ValueError: one is given without another that it needs.
    """
    if strategy != "multi_worker" and (workers or worker_index is not None):
        raise ValueError("--workers and --worker_index are for --strategy=multi_worker.")
    if bool(workers) != (worker_index is not None):
        raise ValueError("--workers and --worker_index go together: who trains, and which of them this process is.")
    if strategy != "tpu" and tpu:
        raise ValueError("--tpu is for --strategy=tpu.")


def find(workers: str = "", worker_index: int | None = None, environment: Mapping[str, str] | None = None) -> Cluster:
    """The workers by the flags, else by TF_CONFIG, else by Slurm.

    Args:
      workers: HOST:PORT of each worker with commas between.
      worker_index: which one is this process.
      environment: in place of the process's own.

    Raises:
      ValueError: none of the three says it, or one says what cannot be.
    """
    environment = os.environ if environment is None else environment
    check_flags("multi_worker", workers=workers, worker_index=worker_index)
    if worker_index is not None:
        return Cluster(tuple(word.strip() for word in workers.split(",")), worker_index, "--workers")
    if environment.get("TF_CONFIG", "").strip():
        return _from_tf_config(environment["TF_CONFIG"])
    if "SLURM_JOB_ID" in environment:
        return _from_slurm(environment)
    raise ValueError(WAYS)


def _from_tf_config(text):
    """The form that TensorFlow's tutorials, Kubeflow and Vertex AI use.

    https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable
    """
    example = '{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", "index": 0}}'
    try:
        config = json.loads(text)
        cluster, kind, index = dict(config["cluster"]), config["task"]["type"], int(config["task"]["index"])
        tasks = {job: list(addresses) for job, addresses in cluster.items()}
        assert all(isinstance(address, str) for addresses in tasks.values() for address in addresses)
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"TF_CONFIG is not of the form {example} ({error!r}).") from error
    for job in (*tasks, kind):
        if job == "ps":
            raise ValueError(
                "TF_CONFIG names parameter servers (ps): every worker here has all weights. Leave them out."
            )
        if job == "evaluator":
            raise ValueError(
                "TF_CONFIG names an evaluator: the workers share the evaluation out among them. Leave it out."
            )
        if job not in ("chief", "worker"):
            raise ValueError(f"TF_CONFIG names {job!r}: there are chief and worker.")
    chiefs, workers = tasks.get("chief", []), tasks.get("worker", [])
    if not 0 <= index < len(tasks.get(kind, [])):
        raise ValueError(f"TF_CONFIG: there is no {kind} {index}, but {len(tasks.get(kind, []))} of this type.")
    return Cluster((*chiefs, *workers), index + (len(chiefs) if kind == "worker" else 0), "TF_CONFIG")


def _from_slurm(environment):
    """Slurm's own order of tasks; a port for each that other jobs on the machine do not take.

    Not TensorFlow's SlurmClusterResolver: that sorts hosts by their letters, which puts n10 before n2, where Slurm's
    task 1 is on n2. What `srun` sets: https://slurm.schedmd.com/srun.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES
    """
    try:
        index, node = int(environment["SLURM_PROCID"]), int(environment["SLURM_NODEID"])
        hosts = _expand(environment["SLURM_STEP_NODELIST"])
        counts = []
        for part in environment["SLURM_STEP_TASKS_PER_NODE"].split(","):
            match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
            if not match:
                raise ValueError(part)
            counts += [int(match[1])] * int(match[2] or 1)
        job = int(environment["SLURM_JOB_ID"])
    except KeyError as error:
        raise ValueError(
            f"this is a job of Slurm, but {error.args[0]} is not set: start the workers with srun."
        ) from None
    except ValueError as error:
        raise ValueError(f"Slurm's variables cannot be read ({error}): use --workers and --worker_index.") from error
    if len(hosts) != len(counts):
        raise ValueError(f"Slurm names {len(hosts)} machines, and tasks for {len(counts)}: use --workers.")
    base = 20_000 + job % 600 * 16  # below the ports that the system gives to others
    places = [(number, local) for number, count in enumerate(counts) for local in range(count)]
    cluster = Cluster(tuple(f"{hosts[number]}:{base + local}" for number, local in places), index, "Slurm")
    if places[index][0] != node:
        raise ValueError(
            f"Slurm's task {index} is on machine {node}, not {places[index][0]}: use srun --distribution=block."
        )
    return cluster


def _expand(text):
    """Slurm's short form of many names: `n[08-10,12],m1` are n08, n09, n10, n12 and m1."""
    parts = re.findall(r"(?:[^,\[\]]|\[[0-9,-]+\])+", text)
    if ",".join(parts) != text:
        raise ValueError(f"SLURM_STEP_NODELIST={text!r}")
    names = []
    for part in parts:
        match = re.search(r"\[([0-9,-]+)\]", part)
        if not match:
            names.append(part)
            continue
        for numbers in match[1].split(","):
            first, _, last = numbers.partition("-")
            for number in range(int(first), int(last or first) + 1):
                names += _expand(f"{part[: match.start()]}{number:0{len(first)}}{part[match.end() :]}")
    return names


def gather(cluster: Cluster, *, wait_seconds: float = WAIT_SECONDS) -> None:
    """Returns when every other worker has been there: when its port has answered once. Says on stderr who is missing.

    This worker's own port answers meanwhile, and is free again at the end.

    Raises:
      ValueError: this worker's own port cannot be used.
      TimeoutError: some did not come.
    """
    started = time.monotonic()
    tell_at = started + PATIENCE_SECONDS
    count = len(cluster.addresses)
    awaited = {i: address for i, address in enumerate(cluster.addresses) if i != cluster.index}
    reasons: dict[int, str] = {}
    with _listening(cluster):
        while True:
            for number, address in list(awaited.items()):
                if not (reason := _unreachable(address)):
                    del awaited[number]
                else:
                    reasons[number] = reason
            if not awaited:
                break
            now = time.monotonic()
            missing = [f"worker {number} ({address}: {reasons[number]})" for number, address in awaited.items()]
            text = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
            if now - started > wait_seconds:
                raise TimeoutError(
                    f"{len(missing)} of {count} workers did not come within {wait_seconds:g} s: {text}. "
                    "Start each with the same list and an index of its own."
                )
            if now > tell_at:
                console.note(f"Worker {cluster.index} waits for {text}.")
                tell_at = now + REMIND_SECONDS
            time.sleep(0.2)


@contextlib.contextmanager
def _listening(cluster: Cluster) -> Iterator[None]:
    """While in this context, this worker's port answers. TensorFlow would share it with whoever has it already."""
    address = cluster.addresses[cluster.index]
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # an ended run's connections do not count
        try:
            server.bind(("", int(address.rpartition(":")[2])))
            server.listen(128)  # the system answers: nobody has to accept
        except OSError as error:
            raise ValueError(
                f"worker {cluster.index} cannot listen at {address} ({error.strerror}): end what uses the port, "
                "such as an older run, or give the worker another one."
            ) from error
        yield


def _unreachable(address: str) -> str:
    """Why nobody answers there; empty if somebody does."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2) as connection:
            # Where nobody listens, a socket may be given the very port that it calls, and answer itself.
            return "nobody listens" if connection.getsockname() == connection.getpeername() else ""
    except ConnectionRefusedError:
        return "nobody listens"
    except OSError as error:
        return error.strerror or str(error)
