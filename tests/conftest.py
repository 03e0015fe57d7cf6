"""What holds for every test."""

import os

# Before the first import of TensorFlow, here and in the processes that tests start: errors only.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Where TFDS keeps its files: the built-in digits, prepared once for all tests."""
    from kerascnn.data import open_source

    folder = tmp_path_factory.mktemp("tfds")
    open_source("digits", folder)
    return folder
