"""A test digit as a file of its own."""

import pathlib
import sys

import pytest

from kerascnn import data
from tools import digit_image


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["digit_image", *map(str, arguments)])
    digit_image.main()


@pytest.mark.parametrize("index", [0, 7, 359])
def test_the_file_is_the_test_image_of_that_number(index, data_dir, tmp_path, monkeypatch, capsys):
    path = tmp_path / "digit.png"
    call(monkeypatch, f"--data_dir={data_dir}", f"--out={path}", f"--index={index}")
    encoded, label = list(data.open_source("digits", data_dir).dataset("test"))[index]
    assert path.read_bytes() == encoded.numpy()
    assert capsys.readouterr().out == f"{path}: a handwritten {label.numpy()} that no training has seen\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--index=360"], "index"),
        (["--index=-1"], "index"),
        (["digit.png"], "everything is a flag here: --out=FILE."),
        (["--out=/dev/null/digit.png"], "/dev/null/digit.png"),
        (["--data_dir=/dev/null/below"], "cannot prepare the digits in /dev/null/below"),
        (["--uot=x"], "out"),
    ],
)
def test_wrong_input_ends_with_2_and_one_line(flags, message, data_dir, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, f"--data_dir={data_dir}", f"--out={tmp_path}/digit.png", *flags)
    errors = capsys.readouterr().err
    assert end.value.code == 2
    assert errors.startswith("error: ") and errors.count("\n") == 1 and message in errors
    assert not pathlib.Path(tmp_path, "digit.png").exists()
