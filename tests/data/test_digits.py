"""The built-in data: whole, split in fair shares, and prepared on any machine, by any number of processes."""

import hashlib
import io
import re
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

from kerascnn.data import digits as module
from kerascnn.data import open_source

SIZES = {"train": 1437, "test": 360}
# Another value means that examples have changed sides, and that no result can be compared with an older one.
TEST_INDICES = "e180a906e4fc19186725d316a4082b055ebe28f9d46b15ca54ad029e6992091a"


@pytest.fixture(scope="module")
def examples(data_dir):
    """{split: [(PNG file, label)]}"""
    source = open_source("digits", data_dir)
    return {
        split: [(encoded.numpy(), int(label)) for encoded, label in source.dataset(split)]
        for split in ("train", "test")
    }


def levels(encoded):
    """The image in scikit-learn's 17 levels."""
    pixels = np.asarray(PIL.Image.open(io.BytesIO(encoded)))
    assert pixels.shape == (8, 8) and pixels.dtype == np.uint8
    grey = pixels * (16 / 255)
    assert np.abs(grey - grey.round()).max() < 0.04
    return grey.round()


def test_images_are_png_files_with_a_label(examples, data_dir):
    assert {split: len(rows) for split, rows in examples.items()} == SIZES
    assert all(encoded.startswith(b"\x89PNG") for rows in examples.values() for encoded, _ in rows)
    source = open_source("digits", data_dir)
    assert source.class_names == tuple("0123456789")
    assert source.image_shape == (8, 8, 1)


def test_both_splits_together_are_scikit_learns_digits_each_once(examples):
    digits = load_digits()
    ours = [(levels(encoded).tobytes(), label) for rows in examples.values() for encoded, label in rows]
    theirs = [(image.tobytes(), label) for image, label in zip(digits.images, digits.target, strict=True)]
    assert len(set(theirs)) == 1797
    assert sorted(ours) == sorted(theirs)


def test_each_class_has_its_share_of_both_splits(examples):
    train, test = (np.bincount([label for _, label in examples[split]]) for split in SIZES)
    np.testing.assert_allclose(test, (train + test) * 360 / 1797, atol=1)


def test_the_split_is_fixed(examples):
    digits = load_digits()
    indices = module.test_indices(digits.target)
    assert hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest() == TEST_INDICES
    np.testing.assert_array_equal([levels(encoded) for encoded, _ in examples["test"]], digits.images[indices])


def test_tfds_reads_it_like_any_other(data_dir):
    dataset, info = tfds.load("digits", split="test", data_dir=data_dir, as_supervised=True, with_info=True)
    image, label = next(iter(dataset))
    assert image.shape == (8, 8, 1) and image.dtype == "uint8" and label.dtype == "int64"
    assert {name: split.num_examples for name, split in info.splits.items()} == SIZES


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=rf"cannot prepare the digits in {tmp_path}/file/.*Not a directory.*--data_dir"):
        open_source("digits", tmp_path / "file" / "below")


def test_a_folder_that_is_not_whole_is_named(tmp_path):
    (tmp_path / "digits" / "1.0.0").mkdir(parents=True)
    with pytest.raises(OSError, match=rf"{tmp_path}/digits/1\.0\.0 is not whole: delete it"):
        open_source("digits", tmp_path)


# Waits for a line when all is imported. Ends with 9 at the first use of the network. With `killed` it meets a full disk
# first, and is killed later, when the files are complete and only the folder's last renaming is missing.
PREPARE = """
import os, resource, signal, sys
from kerascnn.data import open_source

def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        os._exit(9)
    if event == "os.rename" and "incomplete" in str(arguments[0]) and str(arguments[1]).endswith("/1.0.0"):
        if sys.argv[2] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
print("ready", flush=True)
sys.stdin.readline()
if sys.argv[2] == "killed":
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
    try:
        open_source("digits", sys.argv[1])
    except OSError as error:
        print(error, os.listdir(sys.argv[1] + "/digits"), flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
source = open_source("digits", sys.argv[1])
print(source.size("train"), sum(1 for _ in source.dataset("train")))
"""


@pytest.mark.slow  # tests/data/test_records.py has such ends of our own writing by default
def test_a_full_disk_a_kill_then_two_at_once_and_no_network(tmp_path):
    def start(kind):
        command = [sys.executable, "-c", PREPARE, tmp_path, kind]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, text=True, **pipes)

    processes = [start("killed"), start("whole"), start("whole")]
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
        killed, *whole = processes
        output, errors = killed.communicate("\n")
        assert killed.returncode == -9, errors
        assert re.search(
            rf"cannot prepare the digits in {tmp_path}/digits \(.*File too large.*--data_dir \[\]\n", output
        )
        (left_over,) = (tmp_path / "digits").iterdir()
        assert "incomplete" in left_over.name and (left_over / "dataset_info.json").exists()

        for process in whole:
            process.stdin.write("\n")
            process.stdin.flush()
        for process in whole:
            output, errors = process.communicate()
            assert process.returncode == 0, errors
            assert output.splitlines()[-1] == "1437 1437"
            assert "Variant folder" not in errors  # TFDS warns of what is not there yet
        assert {path.name for path in (tmp_path / "digits").iterdir()} == {left_over.name, "1.0.0"}
    finally:
        for process in processes:
            process.kill()
            process.communicate()
