"""Files of weights: every kind of number, and every kind of damage."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from kerascnn.weights import files

VALUES = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)


def written(path, header, content=b""):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return str(path)


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", ml_dtypes.bfloat16, "int64", "int32", "uint8", "bool"]
)
def test_safetensors_of_every_type(tmp_path, dtype):
    odd = np.arange(3, dtype=np.uint8)  # so that what follows lies at an address that is no multiple of its size
    tensors = {"a": odd, "b": VALUES.astype(dtype), "none": np.zeros([0, 4], dtype), "one": np.array(2, dtype)}
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file(tensors, path)
    found, said = files.read(str(path))
    assert found.keys() == tensors.keys() and said == {}
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor)


def test_safetensors_are_not_copied(tmp_path):
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"a": VALUES}, path)
    a = files.read(str(path))[0]["a"]
    assert not a.flags.owndata and not a.flags.writeable
    while a.base is not None and not isinstance(a, np.memmap):
        a = a.base
    assert isinstance(a, np.memmap)


@pytest.mark.parametrize(
    "offsets",
    [[0, 8], [0, 16 * 2**40], [8, 24], [0, 20], [16, 0], [-8, 8]],
)
def test_a_header_that_lies_is_named(tmp_path, offsets):
    header = {"a": {"dtype": "F32", "shape": [4], "data_offsets": offsets}}
    path = written(tmp_path / "x.safetensors", header, bytes(16))
    with pytest.raises(ValueError, match=r"x\.safetensors is damaged, or not a safetensors file"):
        files.read(path)


@pytest.mark.parametrize("shape", [[5], [2**62, 4], [-4], [2**40, 2**40]])
def test_a_shape_that_lies_is_named(tmp_path, shape):
    path = written(
        tmp_path / "x.safetensors", {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 16]}}, bytes(16)
    )
    with pytest.raises(ValueError, match=r"x\.safetensors is damaged, or not a safetensors file"):
        files.read(path)


def test_numbers_that_no_weight_is_made_of_are_named(tmp_path):
    path = written(
        tmp_path / "x.safetensors", {"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, bytes(4)
    )
    with pytest.raises(ValueError, match="a is of the type F8_E4M3, which no weight can be made of"):
        files.read(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'"a"', b"\xff\xfe"])
def test_json_that_is_none(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json (is no JSON|does not hold a JSON object)"):
        files.read_json(str(path))


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "step-00000001.npz"
    np.savez(path, **{"model/logits/0_kernel": VALUES, "step": np.int64(3)})
    assert files.read(str(path))[0].keys() == {"logits/kernel"}
    whole = path.read_bytes()
    for content in (b"", b"none", whole[:60], whole[:-30]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged, or not a checkpoint of a run"):
            files.read(str(path))
    with open(path, "wb") as file:
        np.savez(file, **{"model/logits/0_kernel": np.array([{}], object)})  # a pickle
    with pytest.raises(ValueError, match="is damaged, or not a checkpoint of a run"):
        files.read(str(path))
