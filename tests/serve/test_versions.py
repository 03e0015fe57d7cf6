"""Versions: which one answers, what becomes of the one before, and what is said of those that cannot be loaded."""

import asyncio
import gc
import inspect
import os
import shutil
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from kerascnn.serve import versions
from kerascnn.serve.metrics import Metrics
from kerascnn.serve.rest import RestError


def export(folder, factor=2.0):
    """A SavedModel that multiplies, and one signature that knows no rows."""
    module = tf.Module()
    module.factor = tf.Variable(factor)
    module.times = tf.function(
        lambda x: {"y": module.factor * x}, input_signature=[tf.TensorSpec([None], tf.float32, "x")]
    )
    module.sum = tf.function(
        lambda x: {"sum": tf.reduce_sum(x)}, input_signature=[tf.TensorSpec([None], tf.float32, "x")]
    )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def bad(text):
        with tf.control_dependencies([tf.raw_ops.Assert(condition=False, data=["text[3]:", "no", text])]):
            return {"text": tf.identity(text)}

    module.bad = bad
    signatures = {"serving_default": module.times, "sum": module.sum, "bad": module.bad}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    return {factor: export(folder / str(factor), factor) for factor in (2.0, 3.0)}


@pytest.fixture
def bundle(exported, tmp_path):
    """A folder with version 1, which doubles."""
    shutil.copytree(exported[2.0], tmp_path / "bundle" / "1")
    return tmp_path / "bundle"


def warm_up_with(folder, *requests):
    """Writes (signature, {input: array}) as a bundle's warm-up requests."""
    (folder / versions.WARMUP).parent.mkdir()
    with tf.io.TFRecordWriter(str(folder / versions.WARMUP)) as writer:
        for signature, inputs in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.model_spec.signature_name = signature
            for name, array in inputs.items():
                log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
            writer.write(log.SerializeToString())


def multiply(version, *values):
    return version.methods["serving_default"].compute.run({"x": np.array(values, np.float32)})["y"].tolist()


def opened(bundle, **options):
    said = []
    return versions.Versions(bundle, "model", Metrics(), trust=False, tell=said.append, **options), said


async def until(condition):
    while not condition():
        await asyncio.sleep(0.01)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 120))


def states(opened, number=None):
    status = opened.status(number)["model_version_status"]
    return {one["version"]: (one["state"], one["status"]["error_code"]) for one in status}


def test_what_is_a_version(bundle, tmp_path):
    shutil.copytree(bundle / "1", bundle / "12")
    for name in ("writing-1a2b", "²", "latest"):
        shutil.copytree(bundle / "1", bundle / name)
    (bundle / "13").mkdir()
    (bundle / "14").touch()
    assert versions.find(bundle) == {1: bundle / "1", 12: bundle / "12"}
    assert versions.find(bundle / "12") == {12: bundle / "12"}
    assert versions.find(bundle / "latest") == {1: bundle / "latest"}
    assert versions.find(tmp_path / "none") == versions.find(bundle / "14") == {}


def test_a_loaded_version(bundle):
    version = versions.load(7, bundle / "1")
    assert multiply(version, 1, 2.5) == [2, 5]
    assert version.methods.keys() == {"serving_default", "sum", "bad"}
    assert version.methods["serving_default"].inputs == {"x": (np.dtype("float32"), (None,))}
    assert version.methods["bad"].inputs == {"text": (np.dtype("O"), (None,))}
    assert version.methods["serving_default"].compute.batched
    assert not version.methods["sum"].compute.batched  # its answer has no rows
    assert len({method.compute.key for method in version.methods.values()}) == 3


def test_metadata_are_the_signature_as_protobuf_writes_json(bundle):
    metadata = versions.load(7, bundle / "1").metadata["serving_default"]
    shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    (given,) = metadata["inputs"].items()
    assert given == ("x", {"name": "serving_default_x:0", "dtype": "DT_FLOAT", "tensor_shape": shape})
    assert metadata["outputs"]["y"]["tensor_shape"] == shape
    assert metadata["method_name"] == "tensorflow/serving/predict"


def test_errors_of_the_graph_are_told_without_its_inside(bundle):
    version = versions.load(7, bundle / "1")
    with pytest.raises(RestError) as error:
        version.methods["bad"].compute.run({"text": np.array([b"a"], object)})
    assert error.value.status == 400
    assert error.value.message == "text[3]: no a"


def test_warm_up_requests_are_played(bundle):
    warm_up_with(
        bundle / "1", ("serving_default", {"x": np.ones(16, np.float32)}), ("sum", {"x": np.ones(1, np.float32)})
    )
    assert multiply(versions.load(1, bundle / "1"), 3) == [6]


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("none", {"x": np.ones(1, np.float32)}, "a request for what this version does not have"),
        ("sum", {"y": np.ones(1, np.float32)}, "a request for what this version does not have"),
        ("bad", {"text": [b"a"]}, "a warm-up request fails: text"),
    ],
)
def test_a_version_that_cannot_do_its_own_warm_up_requests_is_refused(signature, inputs, message, bundle):
    warm_up_with(bundle / "1", (signature, inputs))
    with pytest.raises(ValueError, match=message):
        versions.load(1, bundle / "1")


def test_what_is_damaged_or_has_no_signatures_is_named(bundle, tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "none"))
    with pytest.raises(ValueError, match="has no signatures"):
        versions.load(1, tmp_path / "none")
    (bundle / "1/variables/variables.index").write_bytes(b"\xff" * 100)
    with pytest.raises(ValueError, match=rf"{bundle / '1'}.*export it anew"):
        versions.load(1, bundle / "1")


def test_a_graph_that_reads_files_is_refused_unless_trusted(tmp_path):
    module = tf.Module()
    spec = tf.TensorSpec([], tf.string, "name")
    module.read = tf.function(lambda name: {"content": tf.io.read_file(name)}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "reads"), signatures={"serving_default": module.read})
    with pytest.raises(ValueError, match="ReadFile"):
        versions.load(1, tmp_path / "reads")
    (tmp_path / "secret").write_text("text")
    version = versions.load(1, tmp_path / "reads", trust=True)
    name = np.array(os.fsencode(tmp_path / "secret"), object)
    assert version.methods["serving_default"].compute.run({"name": name})["content"] == b"text"


def test_nothing_answers_before_it_is_loaded(bundle):
    early, _ = opened(bundle)
    with pytest.raises(RestError) as error, early.use(None):
        pass
    assert error.value.status == 503 and error.value.headers == {"Retry-After": "1"}
    with pytest.raises(RestError, match="Could not find any versions of model model"):
        early.status(None)


def test_the_highest_that_can_be_loaded_answers_first(bundle, exported):
    shutil.copytree(exported[3.0], bundle / "9")
    shutil.copytree(exported[2.0], bundle / "10")
    (bundle / "10/saved_model.pb").write_bytes(b"\xff" * 100)

    async def scenario():
        first, _ = opened(bundle)
        await first.start()
        with first.use(None) as version:
            assert version.number == 9 and multiply(version, 1) == [3]
        with first.use(9):
            pass
        with pytest.raises(RestError, match=r"Servable not found for request: Specific\(model, 1\)"), first.use(1):
            pass
        assert states(first) == {"10": ("END", "UNKNOWN"), "9": ("AVAILABLE", "OK")}
        assert states(first, 9) == {"9": ("AVAILABLE", "OK")}
        with pytest.raises(RestError, match="Could not find version 1 of model model"):
            first.status(1)

    run(scenario())


def test_where_none_can_be_loaded_it_says_why(bundle, tmp_path):
    async def scenario(folder):
        await opened(folder)[0].start()

    with pytest.raises(ValueError, match="holds no bundle: give the folder that --export_dir named"):
        run(scenario(tmp_path / "none"))
    (bundle / "1/saved_model.pb").write_bytes(b"\xff" * 100)
    with pytest.raises(ValueError, match=rf"^{bundle / '1'}"):
        run(scenario(bundle))


def test_a_new_version_takes_over_and_what_has_begun_ends_on_the_old_one(bundle, exported):
    async def scenario():
        watched, said = opened(bundle)
        await watched.start()
        watching = asyncio.create_task(watched.watch(0.01))
        with watched.use(None) as old:
            shutil.copytree(exported[3.0], bundle / "writing-2")
            (bundle / "writing-2").rename(bundle / "2")
            await until(lambda: watched.current is not old)
            assert multiply(old, 1) == [2]
            assert states(watched) == {"2": ("AVAILABLE", "OK"), "1": ("UNLOADING", "OK")}
            with watched.use(None) as new:
                assert multiply(new, 1) == [3]
        assert states(watched) == {"2": ("AVAILABLE", "OK"), "1": ("END", "OK")}
        assert not old.methods
        watching.cancel()
        return said

    assert run(scenario()) == ["version 2 answers now, in the place of 1"]


def test_what_is_loaded_is_not_searched_for_circles_and_what_was_unloaded_is_freed(bundle, exported):
    async def scenario():
        watched, _ = opened(bundle)
        await watched.start()
        known = inspect.getclosurevars(watched.current.methods["serving_default"].compute.run).nonlocals
        loaded = weakref.ref(known.pop("function").graph)  # which holds itself in a circle
        del known
        await until(lambda: gc.get_freeze_count() > 0)
        watching = asyncio.create_task(watched.watch(0.01))
        shutil.copytree(exported[3.0], bundle / "writing-2")
        (bundle / "writing-2").rename(bundle / "2")
        await until(lambda: watched.current.number == 2)
        await until(lambda: loaded() is None)
        watching.cancel()

    gc.unfreeze()
    try:
        run(scenario())
    finally:
        gc.unfreeze()


def test_a_version_that_fails_is_told_of_once_and_tried_again_when_it_has_changed(bundle, exported):
    async def scenario():
        watched, said = opened(bundle)
        await watched.start()
        watching = asyncio.create_task(watched.watch(0.01))
        shutil.copytree(exported[3.0], bundle / "2", ignore=lambda *_: ["saved_model.pb"])
        (bundle / "2/saved_model.pb").write_bytes(b"\xff" * 100)
        await until(lambda: said)
        await asyncio.sleep(0.1)  # many looks later
        assert len(said) == 1 and said[0].startswith("version 2 cannot be served, 1 goes on: ")
        assert watched.current.number == 1 and states(watched)["2"] == ("END", "UNKNOWN")
        (bundle / "2/saved_model.pb").write_bytes((exported[3.0] / "saved_model.pb").read_bytes())
        await until(lambda: watched.current.number == 2)
        watching.cancel()

    run(scenario())


def test_a_folder_that_vanishes_is_no_error_and_one_that_goes_back_is_followed(bundle, exported):
    async def scenario():
        shutil.copytree(exported[3.0], bundle / "2")
        watched, said = opened(bundle)
        await watched.start()
        watching = asyncio.create_task(watched.watch(0.01))
        (bundle / "2").rename(bundle / "gone")
        await until(lambda: watched.current.number == 1)
        bundle.rename(bundle.with_name("elsewhere"))
        await asyncio.sleep(0.1)
        with watched.use(None) as version:
            assert version.number == 1 and multiply(version, 1) == [2]
        watching.cancel()
        return said

    assert run(scenario()) == ["version 1 answers now, in the place of 2"]


def test_only_the_last_that_ended_are_remembered(exported, bundle, monkeypatch):
    monkeypatch.setattr(versions, "REMEMBERED", 2)

    async def scenario():
        watched, _ = opened(bundle)
        await watched.start()
        for number in range(2, versions.REMEMBERED + 4):
            assert await watched._load(number, shutil.copytree(exported[3.0], bundle / str(number)))
        return states(watched)

    known = run(scenario())
    assert len(known) == versions.REMEMBERED + 1
    assert list(known.values()).count(("END", "OK")) == versions.REMEMBERED
