"""Strategies by name. Workers are processes, as they are on many machines."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from kerascnn.train.strategy import addresses_of, dtype_policy, make_strategy, worker_of
from tools.launch import free_ports

ROOT = Path(__file__).parents[2]


def test_names():
    one = make_strategy("one_device")
    assert isinstance(one, tf.distribute.OneDeviceStrategy)
    assert worker_of(one) == (0, 1) and addresses_of(one) == []
    assert isinstance(make_strategy("mirrored"), tf.distribute.MirroredStrategy)
    with pytest.raises(ValueError, match="there are one_device, mirrored, multi_worker and tpu"):
        make_strategy("central")
    with pytest.raises(ValueError, match="--tpu is for --strategy=tpu"):
        make_strategy("mirrored", tpu="x")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "the TPU '' cannot be used .Please provide a TPU Name"),
        ("no-such-tpu", "the TPU 'no-such-tpu' cannot be used"),
        ("grpc://localhost:1", "no TPU answers at grpc://localhost:1 .*Connection refused"),
        ("localhost:many", "no TPU answers at localhost:many"),
    ],
)
def test_no_such_tpu(name, message):
    with pytest.raises(ValueError, match=message + ".*Give --tpu its name, its address"):
        make_strategy("tpu", tpu=name)


def test_workers_that_do_not_come(monkeypatch):
    first, second = free_ports(2)
    with pytest.raises(TimeoutError, match=f"1 of 2 workers did not come within 0 s: worker 1 .127.0.0.1:{second}"):
        make_strategy("multi_worker", workers=f"127.0.0.1:{first},127.0.0.1:{second}", worker_index=0, wait_seconds=0)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(ValueError, match="say who trains: --workers="):
        make_strategy("multi_worker")


WORKER = """
import sys
import tensorflow as tf
from kerascnn.train.interrupt import explain_lost_worker
from kerascnn.train.strategy import addresses_of, make_strategy, worker_of

if sys.argv[1:]:
    strategy = make_strategy("multi_worker", workers=sys.argv[1], worker_index=int(sys.argv[2]))
else:
    strategy = make_strategy("multi_worker")
index, count = worker_of(strategy)

@tf.function
def total():
    summed = tf.constant(0)
    for _ in tf.range(20):
        summed += strategy.reduce("SUM", strategy.run(lambda: tf.constant(index + 1)), axis=None)
    return summed

print(index, count, strategy.num_replicas_in_sync, total().numpy() // 20, flush=True)
try:
    while count > 1:
        total()
except tf.errors.OpError as error:
    print(explain_lost_worker(error, addresses_of(strategy)), flush=True)
    sys.exit(1)
"""


def start(folder, *arguments, script=WORKER, **environment):
    path = folder / "worker.py"  # TensorFlow reads the source of what it compiles
    path.write_text(script, "utf-8")
    return subprocess.Popen(
        [sys.executable, path, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tf_config(addresses, index):
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})


def ended(processes):
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("count", "lost", "how"),
    [
        pytest.param(2, 1, signal.SIGKILL, marks=pytest.mark.slow),  # tests/train/test_exactness.py kills one of two
        pytest.param(3, 0, signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param(3, 1, signal.SIGKILL, marks=pytest.mark.slow),
        # As when a machine goes off: nobody closes a connection.
        pytest.param(3, 0, signal.SIGSTOP, marks=pytest.mark.slow),
        pytest.param(3, 2, signal.SIGSTOP, marks=pytest.mark.slow),
    ],
)
def test_workers_sum_up_and_name_the_one_that_is_lost(count, lost, how, tmp_path):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    processes = [start(tmp_path, ",".join(addresses), 0)]  # by flags; the others by TF_CONFIG
    processes += [start(tmp_path, TF_CONFIG=tf_config(addresses, index)) for index in range(1, count)]
    try:
        for index, process in enumerate(processes):
            assert process.stdout.readline() == f"{index} {count} {count} {count * (count + 1) // 2}\n", (
                process.kill(),
                process.communicate(),
            )
        processes[lost].send_signal(how)
        told = time.monotonic()
        for index, process in enumerate(processes):
            if index != lost:
                output, errors = process.communicate(timeout=60)
                # Another one that has noticed it, and ended, may be named as well.
                assert f"worker {lost} ({addresses[lost]}) " in output and "gone: " in output, (output, errors)
                assert process.returncode == 1
        assert time.monotonic() - told < 60
    finally:
        ended(processes)


@pytest.mark.slow
def test_one_worker_alone(tmp_path):
    process = start(tmp_path, f"localhost:{free_ports(1)[0]}", 0)
    output, errors = process.communicate()
    assert output == "0 1 1 1\n", errors


JOIN = """
import socket, sys
from kerascnn.train.strategy import make_strategy
# Somebody listens there, but says nothing: a worker that died when all had seen each other.
with socket.create_server(("127.0.0.1", 0)) as silent:
    workers = f"127.0.0.1:{sys.argv[1]},127.0.0.1:{silent.getsockname()[1]}"
    print("in", flush=True)
    make_strategy("multi_worker", workers=workers, worker_index=0, wait_seconds=float(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_worker_that_dies_while_they_join_is_not_waited_for_forever(tmp_path):
    process = start(tmp_path, *free_ports(1), 5, script=JOIN)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and output == "in\n"
    assert "Timeout (0:00:05)!" in errors and "make_strategy" in errors


@pytest.mark.slow
def test_signals_act_at_once_while_workers_join(tmp_path):
    process = start(tmp_path, *free_ports(1), 600, script=JOIN)
    try:
        assert process.stdout.readline() == "in\n"
        time.sleep(5)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == -signal.SIGINT
    finally:
        ended([process])


def test_the_policy_is_put_back_also_after_an_error():
    before = keras.config.dtype_policy().name
    with pytest.raises(ZeroDivisionError), dtype_policy("mixed_bfloat16"):
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
        raise ZeroDivisionError
    assert keras.config.dtype_policy().name == before
