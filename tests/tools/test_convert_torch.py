"""The slow tests run the tool where PyTorch is: KERASCNN_TORCH_PYTHON is a Python with torch, numpy and safetensors."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

ROOT = pathlib.Path(__file__).parents[2]

# Files of every kind, as PyTorch writes them.
CODE = """
import argparse, pathlib, sys
import torch

class Mine: pass

folder = pathlib.Path(sys.argv[1])
tensors = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.full((2,), 1.5).bfloat16(), "n": torch.tensor(3)}
modules = {f"module.{name}": tensor for name, tensor in tensors.items()}
large = torch.arange(16.0).reshape(4, 4)
torch.save(tensors, folder / "plain.pth")
torch.save(tensors, folder / "old.pt", _use_new_zipfile_serialization=False)
torch.save({"model": {"state_dict": modules}, "epoch": 3, "args": argparse.Namespace(lr=0.1)}, folder / "nested.pth")
torch.save({"state_dict": modules, "model_ema": {"b": tensors["b"]}, "optimizer": {}}, folder / "two.pth")
torch.save({"x": large, "y": large.T, "z": large[1:]}, folder / "shared.bin")
torch.save({"model": Mine()}, folder / "object.pth")
torch.save(torch.nn.Linear(2, 2), folder / "module.pth")
torch.save([1, 2], folder / "list.pth")
torch.save({}, folder / "empty.pth")
torch.save({"a": tensors["b"], "epoch": 3}, folder / "mixed.pth")
torch.jit.script(torch.nn.Linear(2, 2)).save(folder / "script.pt")
"""


def convert(python, *arguments):
    command = [python, "-m", "tools.convert_torch", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def python():
    found = os.environ.get("KERASCNN_TORCH_PYTHON")
    if not found:
        pytest.skip("set KERASCNN_TORCH_PYTHON to a Python that has torch, numpy and safetensors")
    return found


@pytest.fixture(scope="module")
def made(python, tmp_path_factory):
    folder = tmp_path_factory.mktemp("torch")
    subprocess.run([python, "-W", "ignore", "-c", CODE, folder], check=True)
    (folder / "half.pth").write_bytes((folder / "plain.pth").read_bytes()[:500])
    (folder / "junk.pth").write_bytes(b"this is no checkpoint")
    (folder / "nothing.pth").write_bytes(b"")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "under"),
    [
        ("plain.pth", ""),
        ("old.pt", ""),
        ("nested.pth", ", found under model.state_dict"),
        ("two.pth", ", found under s"),
    ],
)
def test_tensors_are_written_as_they_are(python, made, name, under, tmp_path):
    out = tmp_path / "model.safetensors"
    done = convert(python, made / name, f"--out={out}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{out}: 3 tensors{under}")
    tensors = safetensors.numpy.load_file(out)
    expected = {
        "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
        "b": np.full(2, 1.5, ml_dtypes.bfloat16),
        "n": np.array(3),
    }
    assert tensors.keys() == expected.keys()
    for key, value in expected.items():
        assert tensors[key].dtype == value.dtype
        np.testing.assert_array_equal(tensors[key], value)
    with safetensors.safe_open(out, "numpy") as file:
        assert file.metadata() == {"format": "pt"}
    assert os.listdir(tmp_path) == ["model.safetensors"]


@pytest.mark.slow
def test_a_key_chooses_the_part(python, made, tmp_path):
    out = tmp_path / "model.safetensors"
    assert convert(python, made / "two.pth", f"--out={out}", "--key=model_ema").returncode == 0
    assert list(safetensors.numpy.load_file(out)) == ["b"]
    done = convert(python, made / "two.pth", f"--out={out}", "--key=ema")
    assert done.returncode == 2 and "no 'ema' with tensors; there is state_dict, model_ema, optimizer" in done.stderr


@pytest.mark.slow
def test_tensors_that_share_memory_are_written_each(python, made, tmp_path):
    out = tmp_path / "model.safetensors"
    assert convert(python, made / "shared.bin", f"--out={out}").returncode == 0
    tensors, large = safetensors.numpy.load_file(out), np.arange(16, dtype=np.float32).reshape(4, 4)
    for key, value in {"x": large, "y": large.T, "z": large[1:]}.items():
        np.testing.assert_array_equal(tensors[key], value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "object.pth",
            "it holds more than tensors (__main__.Mine), and would need weights_only=False, which can run code",
        ),
        ("module.pth", "it holds more than tensors (torch.nn.modules.linear.Linear)"),
        ("list.pth", "it holds a list, no state dict: save model.state_dict()"),
        ("empty.pth", "it holds an empty dict, no state dict"),
        ("mixed.pth", "it holds what is no tensor: epoch (int); --key=NAME chooses"),
        ("script.pt", "it is a TorchScript program, no state dict"),
        ("half.pth", "it is damaged, or not a file of PyTorch"),
        ("junk.pth", "it is damaged, or not a file of PyTorch"),
        ("nothing.pth", "it is damaged, or not a file of PyTorch"),
    ],
)
def test_what_holds_no_tensors_is_one_line_and_writes_nothing(python, made, name, says, tmp_path):
    done = convert(python, made / name, f"--out={tmp_path / 'model.safetensors'}")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith(f"error: {made / name}: {says}") and done.stderr.count("\n") == 1
    assert not os.listdir(tmp_path)


@pytest.mark.slow
def test_where_nothing_can_be_written(python, made, tmp_path):
    out = tmp_path / "none" / "model.safetensors"
    done = convert(python, made / "plain.pth", f"--out={out}")
    assert done.returncode == 1 and done.stderr.startswith(f"error: cannot write {out}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: file, --out (--help shows all flags)"),
        (["none.pth", "--out=a.pth"], "--out=a.pth: the name of a .safetensors file is wanted."),
        (["none.pth", "--out=a.safetensors"], "there is no file none.pth."),
        (["none.pth", "--out=a.safetensors", "--ky=b"], "unrecognized arguments: --ky=b (--help shows all flags)"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, says):
    done = convert(sys.executable, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {says}\n")


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is installed here")
def test_without_pytorch_it_says_how_to_get_it(tmp_path):
    path = tmp_path / "model.pth"
    path.write_bytes(b"")
    done = convert(sys.executable, path, f"--out={tmp_path / 'model.safetensors'}")
    assert done.returncode == 2
    assert done.stderr.endswith("or install it with: pip install torch numpy safetensors\n")


def test_help_and_nothing_of_ours():
    done = convert(sys.executable, "--help")
    assert done.returncode == 0 and "weights_only=True" in done.stdout
    code = "import sys, tools.convert_torch; assert not {'keras', 'tensorflow', 'kerascnn', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
