"""Classifying with a bundle: the right version, every file answered, and nothing that is no bundle taken for one."""

import io
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerascnn import data, load_model, serve
from kerascnn.serve.client import BATCH, classify, open_bundle


@pytest.fixture(scope="module")
def version(bundle):
    return bundle / "1"


@pytest.fixture(scope="module")
def other(run_dir, tmp_path_factory):
    """A version that can be told from `version`: it gives two classes, and flags what is no image."""
    preprocessing = data.Preprocessing.load(run_dir / "preprocessing.json")
    folder = tmp_path_factory.mktemp("other")
    return serve.export(load_model(run_dir / "model.keras"), folder, preprocessing, top_k=2, on_bad_image="flag")


@pytest.fixture(scope="module")
def opened(bundle):
    return open_bundle(bundle)


@pytest.fixture(scope="module")
def flagging(other):
    return open_bundle(other)


@pytest.fixture(scope="module")
def digits(data_dir, tmp_path_factory):
    """The paths of 150 test digits."""
    folder = tmp_path_factory.mktemp("digits")
    source = data.open_source("digits", data_dir)
    for i, (encoded, _) in enumerate(source.dataset("test[:150]")):
        (folder / f"{i}.png").write_bytes(encoded.numpy())
    return [str(folder / f"{i}.png") for i in range(150)]


def classes(opened):
    return opened.structured_outputs["classes"].shape[-1]


def test_the_highest_version_is_opened(version, other, tmp_path):
    for name, copied in [("9", version), ("10", other), ("writing-1a2b", version), ("²", version)]:
        shutil.copytree(copied, tmp_path / name)
    (tmp_path / "11").mkdir()
    (tmp_path / "12").write_text("a file")
    assert classes(open_bundle(tmp_path)) == 2
    assert classes(open_bundle(str(tmp_path))) == 2


def test_a_version_can_be_opened_by_itself(version, other, tmp_path):
    shutil.copytree(version, tmp_path / "1")
    shutil.copytree(other, tmp_path / "2")
    assert classes(open_bundle(tmp_path / "1")) == 5


ADVICE = "give the folder that --export_dir named, or one of its versions"


def other_saved_model(folder):
    module = tf.Module()
    module.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([None], tf.float32)])
    tf.saved_model.save(module, str(folder / "1"), signatures={"serving_default": module.double})


def unfinished(folder):
    (folder / "writing-1a2b").mkdir()
    (folder / "writing-1a2b" / "saved_model.pb").touch()


WRONG = {
    "missing": (shutil.rmtree, f"holds no bundle: {ADVICE}"),
    "empty": (lambda folder: None, f"holds no bundle: {ADVICE}"),
    "a file": (lambda folder: (folder.rmdir(), folder.touch()), f"holds no bundle: {ADVICE}"),
    "an export that was killed": (unfinished, f"holds no bundle: {ADVICE}"),
    "another SavedModel": (other_saved_model, f"does not go from image files to classes: {ADVICE}"),
    "a SavedModel without signatures": (
        lambda folder: tf.saved_model.save(tf.Module(), str(folder)),
        f"does not go from image files to classes: {ADVICE}",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_bundle_is_named(kind, tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    make, message = WRONG[kind]
    make(folder)
    with pytest.raises(ValueError, match=rf"{folder}.* {message}"):
        open_bundle(folder)


@pytest.mark.parametrize(
    "part", ["saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index"]
)
@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[:99], lambda whole: b"\xff" * len(whole)])
def test_a_damaged_bundle_is_named(part, damage, version, tmp_path):
    folder = shutil.copytree(version, tmp_path / "bundle")
    (folder / part).write_bytes(damage((folder / part).read_bytes()))
    with pytest.raises(ValueError, match=rf"^{folder} cannot be loaded, export it anew: .*\Z"):
        open_bundle(folder)


def reads_a_file(folder):
    """A bundle that would give the content of a file as its class."""
    (folder / "secret").write_text("secret")
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def serve(image_bytes):
        shape = [tf.size(image_bytes), 1]
        return {"classes": tf.fill(shape, tf.io.read_file(str(folder / "secret"))), "scores": tf.ones(shape)}

    module.serve = serve
    tf.saved_model.save(module, str(folder / "1"), signatures={"serving_default": serve})


def test_a_bundle_that_reads_files_is_opened_on_trust_alone(digits, tmp_path):
    reads_a_file(tmp_path)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/1 is not loaded: .* 'serving_default' .* ReadFile .*--trust"):
        open_bundle(tmp_path)
    opened = open_bundle(tmp_path, trust=True)
    assert list(classify(opened, digits[:1])) == [(digits[0], [("secret", 1.0)])]


def test_one_answer_a_file_in_order_whatever_the_batch(opened, digits):
    assert len(digits) > 2 * BATCH
    together = list(classify(opened, digits))
    assert [path for path, _ in together] == digits
    for place in (0, BATCH - 1, BATCH, 149):
        ((path, alone),) = classify(opened, [digits[place]])
        assert path == digits[place]
        assert [name for name, _ in alone] == [name for name, _ in together[place][1]]
        np.testing.assert_allclose([s for _, s in alone], [s for _, s in together[place][1]], atol=1e-5)
    for _, answer in together:
        scores = [score for _, score in answer]
        assert len(answer) == 5 and scores == sorted(scores, reverse=True) and 0 < sum(scores) < 1 + 1e-6


@pytest.mark.parametrize("kind", ["opened", "flagging"])
def test_broken_files_do_not_keep_the_others_from_their_answers(kind, digits, tmp_path, request):
    opened = request.getfixturevalue(kind)
    whole = dict(classify(opened, digits))
    broken = {
        "cut.png": Path(digits[0]).read_bytes()[:-9],
        "cut.jpg": jpeg()[:-200],
        "empty.png": b"",
        "text.png": b"not an image",
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
    expected = {str(tmp_path / name): "not a whole PNG or JPEG image" for name in broken}
    expected |= {str(tmp_path): "Is a directory", str(tmp_path / "none.png"): "No such file or directory"}
    expected |= {f"{digits[0]}/below.png": "Not a directory"}
    paths = [*digits[:3], *expected, *digits[3:], *list(expected)[:1], digits[3]]
    answers = list(classify(opened, paths))
    assert [path for path, _ in answers] == paths
    for path, answer in answers:
        if path in expected:
            assert answer == expected[path]
        else:
            assert [name for name, _ in answer] == [name for name, _ in whole[path]]


def jpeg():
    buffer = io.BytesIO()
    PIL.Image.effect_mandelbrot((80, 60), (-2, -1, 1, 1), 50).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def test_no_files_no_answers(opened):
    assert list(classify(opened, [])) == []
