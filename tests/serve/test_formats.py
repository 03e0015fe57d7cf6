"""What is written for which words, and the answers to words that nobody knows."""

import sys

import pytest

from kerascnn.serve import formats
from kerascnn.serve.formats import FORMATS, MIN_AGREEMENT, default_agreement, plan

ALL = ["savedmodel", "litert", "onnx"]


@pytest.mark.parametrize(
    ("names", "precisions", "pairs"),
    [
        (["savedmodel"], [], "savedmodel/float32"),
        (["savedmodel"], ["bfloat16"], "savedmodel/bfloat16"),
        (ALL, [], "savedmodel/float32 litert/float32 onnx/float32"),
        (ALL, ["int8"], "savedmodel/float32 litert/int8 onnx/float32"),
        (ALL, ["bfloat16", "int8"], "savedmodel/bfloat16 litert/int8 onnx/float32"),
        (ALL, ["int8", "float32"], "savedmodel/float32 litert/int8 litert/float32 onnx/float32"),
        (
            ["litert", "savedmodel", "litert"],
            ["float16", "dynamic", "float16"],
            "litert/float16 litert/dynamic savedmodel/float32",
        ),
    ],
)
def test_each_format_is_written_in_the_precisions_that_it_knows(names, precisions, pairs):
    assert " ".join(f"{name}/{precision}" for name, precision in plan(names, precisions)) == pairs


@pytest.mark.parametrize(
    ("names", "precisions", "message"),
    [
        (["savedmodel", "lite_rt"], [], "no format 'lite_rt': did you mean litert?"),
        (["SavedModel"], [], "no format 'SavedModel': did you mean savedmodel?"),
        (["savedmodel", "coreml"], [], "no format 'coreml': choose savedmodel, litert or onnx"),
        (["litert"], [], "savedmodel must be among the formats"),
        ([], [], "savedmodel must be among the formats"),
        (ALL, ["float"], "no precision 'float': did you mean .*float32"),
        (ALL, ["int4"], r"no precision 'int4': did you mean .*int8\?"),
        (ALL, ["fast"], "no precision 'fast': choose float32, .* or int8"),
        (["savedmodel"], ["int8"], "savedmodel know no int8: add litert to the formats"),
        (["savedmodel", "onnx"], ["float32", "dynamic"], "savedmodel and onnx know no dynamic: add litert"),
        (ALL, ["float32", "bfloat16"], "one SavedModel: choose float32 or bfloat16 for it"),
    ],
)
def test_wrong_words_are_answered(names, precisions, message):
    with pytest.raises(ValueError, match=message):
        plan(names, precisions)


def test_missing_packages_are_told_before_anything_is_written(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"onnx needs tf2onnx, onnx: pip install 'kerascnn\[formats\]'"):
        plan(["savedmodel", "onnx"])
    assert plan(["savedmodel", "litert"]) == [("savedmodel", "float32"), ("litert", "float32")]


def test_the_table():
    assert {precision for row in FORMATS.values() for precision in row.precisions} == set(MIN_AGREEMENT)
    paths = [row.path(precision) for row in FORMATS.values() for precision in row.precisions]
    assert "litert/int8.tflite" in paths and "onnx/float32.onnx" in paths
    for name, row in FORMATS.items():
        assert row.precisions[0] == "float32"
        if row.module:
            assert callable(row.load().convert) and callable(row.load().predict)
            assert formats.require(name) is None


def test_less_agreement_is_asked_of_made_up_images_unless_nothing_was_rounded():
    assert default_agreement("float32") == default_agreement("float32", made_up=True) == MIN_AGREEMENT["float32"]
    for precision in set(MIN_AGREEMENT) - {"float32"}:
        assert default_agreement(precision, made_up=True) < default_agreement(precision) < MIN_AGREEMENT["float32"]
