"""A dispatcher and two workers, in processes of their own; one of them is killed."""

import contextlib
import re
import signal
import subprocess
import sys

import pytest

from kerascnn.data import measure, open_source
from kerascnn.data.batches import uint8_batches
from kerascnn.data.lost import LATE, Lost
from tools import data_service


@contextlib.contextmanager
def started(*arguments, says=r"^(?:dispatcher|worker) at (\S+)"):
    """The process once it has written a line that matches, and the line's group. It is gone after the context."""
    command = [sys.executable, "-m", "tools.data_service", *arguments, "--host=localhost"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            matches = (re.search(says, line) for line in process.stdout)
            match = next(filter(None, matches), None)
            assert match, f"{arguments} ended with {process.wait()}"
            yield process, match[1]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def service():
    with contextlib.ExitStack() as stack:
        dispatcher, address = stack.enter_context(started("dispatcher"))
        workers = [stack.enter_context(started("worker", f"--dispatcher={address}"))[0] for _ in range(2)]
        yield address, workers, dispatcher


def test_training_goes_on_when_a_worker_is_killed(service, data_dir, capfd):
    address, workers, _ = service
    source = open_source("digits", data_dir)
    preprocessing = measure(source, "train", mode="none")
    options = {
        "preprocessing": preprocessing,
        "batch_size": 32,
        "augment": "affine(degrees=20), horizontal_flip",
        "mix": "mixup(alpha=1, mode='pair')",
        "seed": 3,
        "start_step": 5,
    }
    alone = uint8_batches(source, "train", lost=Lost(source, "train"), **options)
    expected = {images.numpy().tobytes(): n for n, (images, _) in enumerate(alone.take(400))}
    lost = Lost(source, "train")
    come = []
    for images, labels in uint8_batches(source, "train", lost=lost, data_service=address, **options).take(250):
        assert images.shape == (32, 8, 8, 1) and labels.shape == (32, 10)
        come.append(expected[images.numpy().tobytes()])  # each is what it would have been without the service
        if len(come) == 100:
            workers[0].kill()
    assert len(set(come)) == 250
    missing = set(range(max(come))) - set(come)
    assert lost.batches == sum(max(come) - n > LATE for n in missing)
    assert 0 < lost.batches < 50  # what the worker held when it was killed
    assert f"{lost.batches} batches have not come" in capfd.readouterr().err


def test_servers_end_on_ctrl_c_and_on_sigterm(service):
    """The last test of the service, whose first worker may be gone."""
    _, (_, worker), dispatcher = service
    worker.send_signal(signal.SIGINT)
    assert worker.wait(timeout=60) == 0
    dispatcher.send_signal(signal.SIGTERM)
    assert dispatcher.wait(timeout=60) == 0


# `threading.Event().wait()` in place of `wait()` never returns here.
LOST = """
import signal, sys, threading, time
from tools import data_service

def another_thread():
    # Of the whole process, the main thread alone has the signal blocked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, data_service.SIGNALS)
    time.sleep(0.5)
    signal.raise_signal(int(sys.argv[1]))

signal.pthread_sigmask(signal.SIG_BLOCK, data_service.SIGNALS)
with data_service.signals() as wait:
    threading.Thread(target=another_thread, daemon=True).start()
    wait()
"""


@pytest.mark.parametrize("number", data_service.SIGNALS)
def test_a_signal_is_not_lost_where_its_python_handler_does_not_run(number):
    """As if it came between the last look for signals and the wait, or to a thread of TensorFlow's."""
    done = subprocess.run([sys.executable, "-c", LOST, str(int(number))], timeout=60)
    assert done.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_worker_ends_while_it_waits_for_its_dispatcher(number):
    with started("worker", "--dispatcher=localhost:1", says="looking for the dispatcher at (.*)") as (worker, _):
        worker.send_signal(number)
        assert worker.wait(timeout=60) == -number


def test_no_dispatcher(data_dir):
    source = open_source("digits", data_dir)
    with pytest.raises(OSError, match="no data service answers at localhost:1: start one"):
        uint8_batches(
            source,
            "train",
            preprocessing=measure(source, "train", mode="none"),
            batch_size=32,
            lost=Lost(source, "train"),
            data_service="localhost:1",
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say which: dispatcher or worker."),
        (["boss"], "say which: dispatcher or worker."),
        (["worker"], "a worker needs it"),
        (["dispatcher", "--dispatcher=localhost:1"], "--dispatcher=HOST:PORT is for a worker"),
        (["worker", "--dispatcher=localhost:1", "--work_dir=x"], "--work_dir is for a dispatcher"),
    ],
)
def test_wrong_arguments(arguments, message):
    done = subprocess.run(
        [sys.executable, "-m", "tools.data_service", *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and message in done.stderr
