"""A dispatcher and two workers, in processes of their own; one of them is killed."""

import re
import signal
import subprocess
import sys

import pytest

from kerascnn.data import measure, open_source
from kerascnn.data.batches import uint8_batches
from kerascnn.data.lost import LATE, Lost


def start(*arguments):
    """The process, and the address that it tells."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.data_service", *arguments, "--host=localhost"], stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if match := re.search(r"^(?:dispatcher|worker) at (\S+)", line):
            return process, match[1]
    raise AssertionError(f"{arguments} ended with {process.wait()}")


@pytest.fixture
def service():
    dispatcher, address = start("dispatcher")
    workers = [start("worker", f"--dispatcher={address}")[0] for _ in range(2)]
    yield address, workers
    for process in (*workers, dispatcher):
        process.kill()
        process.communicate()


def test_training_goes_on_when_a_worker_is_killed(service, data_dir, capfd):
    address, workers = service
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


def test_a_server_ends_on_sigterm():
    dispatcher, _ = start("dispatcher")
    dispatcher.send_signal(signal.SIGTERM)
    dispatcher.communicate(timeout=60)
    assert dispatcher.returncode == 0


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
