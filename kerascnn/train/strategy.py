"""Where a model is trained: the strategies of `tf.distribute` by name, and the precisions."""

import contextlib
import faulthandler
import signal
import socket
import sys
import threading
from collections.abc import Iterator

import keras
import tensorflow as tf

from kerascnn.train import cluster
from kerascnn.train.interrupt import explain_lost_worker


def make_strategy(
    name: str,
    *,
    workers: str = "",
    worker_index: int | None = None,
    tpu: str = "",
    wait_seconds: float = cluster.WAIT_SECONDS,
) -> tf.distribute.Strategy:
    """Makes a strategy by its name. `multi_worker` and `tpu` have to come before TensorFlow computes anything.

    `one_device`: the first GPU, else the CPU. `mirrored`: all GPUs of this machine, else all logical CPUs.
    `multi_worker`: all GPUs of each worker, which sum up with NCCL, else the first CPU of each, which sum up around a
    ring over gRPC. Waits until all workers are there; meanwhile SIGINT and SIGTERM end the process at once.
    `tpu`: all cores of one TPU or TPU slice. Nobody has run it yet: there was no TPU to try it on.

    Args:
      name: as above.
      workers: HOST:PORT of each worker with commas between; with none, TF_CONFIG or Slurm says it.
      worker_index: which of them this process is.
      tpu: the TPU's name, its address (`grpc://HOST:8470`), or `local` on a TPU VM.
      wait_seconds: how long to wait for the other workers.

    Raises:
      ValueError: another name; workers, or a TPU, that cannot be.
      OSError: workers did not come (`TimeoutError`), or could not join each other.
    """
    cluster.check_flags(name, workers=workers, worker_index=worker_index, tpu=tpu)
    if name == "multi_worker":
        return _multi_worker(cluster.find(workers, worker_index), wait_seconds)
    if name == "tpu":
        return _tpu(tpu)
    devices = [d.name for d in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]
    if name == "one_device":
        return tf.distribute.OneDeviceStrategy(devices[0])
    if name == "mirrored":
        return tf.distribute.MirroredStrategy(devices)
    raise ValueError(f"no strategy {name!r}: there are one_device, mirrored, multi_worker and tpu.")


def worker_of(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """(which worker this process is, how many there are); (0, 1) where one process does all."""
    addresses = addresses_of(strategy)
    return (strategy.cluster_resolver.task_id, len(addresses)) if addresses else (0, 1)


def addresses_of(strategy: tf.distribute.Strategy) -> list[str]:
    """HOST:PORT of each worker; none where one process does all."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return []
    return strategy.cluster_resolver.cluster_spec().job_tasks("worker")


def _multi_worker(found, wait_seconds):
    gpus = tf.config.list_physical_devices("GPU")
    implementations = tf.distribute.experimental.CommunicationImplementation
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(found.addresses)}),
        task_type="worker",
        task_id=found.index,
        num_accelerators={"GPU": len(gpus)},  # it does not look by itself
        rpc_layer="grpc",
    )
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=implementations.NCCL if gpus else implementations.RING
    )
    with _signals_act_at_once():
        cluster.gather(found, wait_seconds=wait_seconds)
        # TensorFlow holds Python's lock while the workers join. If one has died since it was seen, only a timer that
        # needs no Python can end this.
        faulthandler.dump_traceback_later(wait_seconds, exit=True, file=sys.__stderr__ or 2)
        try:
            return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver, communication_options=options)
        except tf.errors.OpError as error:
            what = explain_lost_worker(error, found.addresses) or str(error).splitlines()[0]
            raise OSError(f"the workers cannot join each other: {what}") from error
        finally:
            faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def _signals_act_at_once() -> Iterator[None]:
    """While in this context, SIGINT and SIGTERM end the process: Python's handlers would not be called."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tpu(name):
    what_to_do = "Give --tpu its name, its address (grpc://HOST:8470), or local on a TPU VM."
    if address := name.removeprefix("grpc://").partition(":")[2]:  # TensorFlow would wait for ever
        host = name.removeprefix("grpc://").partition(":")[0]
        try:
            socket.create_connection((host, int(address)), timeout=10).close()
        except (OSError, ValueError) as error:
            raise ValueError(f"no TPU answers at {name} ({error}). {what_to_do}") from error
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ImportError, OSError, RuntimeError, ValueError, tf.errors.OpError) as error:
        raise ValueError(f"the TPU {name!r} cannot be used ({str(error).splitlines()[0]}). {what_to_do}") from error


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Layers built in this context compute in `float32`, `float64`, `mixed_bfloat16` or `mixed_float16`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
