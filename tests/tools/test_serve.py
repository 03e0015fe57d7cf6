"""`kerascnn serve` as a user meets it: what it prints, what it serves, and how it ends."""

import base64
import concurrent.futures
import ctypes
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
import tensorflow as tf

from kerascnn import data, load_model
from kerascnn import serve as serve_bundle
from kerascnn.serve.client import classify, open_bundle
from tools import serve

ROOT = pathlib.Path(__file__).parents[2]
LINE = re.compile(r"digits, version (\d+), at (http://127\.0\.0\.1:\d+) \(signatures: (.*serving_default.*)\)\n")


def command(*arguments):
    return [sys.executable, "-m", "tools.serve", *map(str, arguments)]


@pytest.fixture(scope="module")
def digits(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    paths = [str(folder / f"{i}.png") for i in range(40)]
    for path, (encoded, _) in zip(paths, data.open_source("digits", data_dir).dataset("test[:40]"), strict=True):
        pathlib.Path(path).write_bytes(encoded.numpy())
    return paths


def start(folder, errors, *arguments):
    """(process, the version, its address, its signatures) of a server, once it answers."""
    # With TensorFlow as talkative as it is by itself.
    environment = {key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"}
    process = subprocess.Popen(
        command(f"--bundle={folder}", "--port=0", "--poll_seconds=0.05", *arguments),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    return process, *LINE.fullmatch(process.stdout.readline()).groups()


@pytest.fixture(scope="module")
def served(bundle, tmp_path_factory):
    """A server of `bundle` under the name of digits, with its folder, and the file of what it writes on stderr."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(bundle / "1", folder / "digits" / "1")
    with open(folder / "errors", "w") as errors:
        process, version, address, signatures = start(folder / "digits", errors)
    with process, httpx.Client(base_url=address, timeout=60) as client:
        assert (version, signatures) == ("1", "examples, features, logits, serving_default, uint8")
        process.client, process.folder, process.errors = client, folder / "digits", folder / "errors"
        yield process
        process.kill()


@pytest.fixture
def client(served):
    return served.client


def encoded(*contents):
    return [{"b64": base64.b64encode(content).decode()} for content in contents]


def ask(client, instances, signature="serving_default"):
    return client.post("/v1/models/digits:predict", json={"instances": instances, "signature_name": signature})


def predictions(client, instances, signature="serving_default"):
    answer = ask(client, instances, signature)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def contents(paths):
    return [pathlib.Path(path).read_bytes() for path in paths]


def check(row, expected, tolerance=1e-5):
    """Whether a row of predictions is this list of classes and scores."""
    assert row["classes"] == [name for name, _ in expected]
    assert row["scores"] == pytest.approx([score for _, score in expected], abs=tolerance)


@pytest.fixture(scope="module")
def expected(bundle, digits):
    """What the bundle says without a server."""
    return [answer for _, answer in classify(open_bundle(bundle), digits)]


def test_files(client, digits, expected):
    for row, answer in zip(predictions(client, encoded(*contents(digits))), expected, strict=True):
        assert row.keys() == {"classes", "scores"}
        check(row, answer)


def test_examples(client, digits, expected):
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={"image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))}
            )
        ).SerializeToString()
        for content in contents(digits)
    ]
    for row, answer in zip(predictions(client, encoded(*examples), "examples"), expected, strict=True):
        check(row, answer)


def test_pixels(client, digits, expected):
    images = [tf.io.decode_png(content, 1).numpy().tolist() for content in contents(digits)]
    for row, answer in zip(predictions(client, images, "uint8"), expected, strict=True):
        check(row, answer)
    large = np.kron(images[0], np.ones((3, 3, 1), int)).tolist()  # of another size, which is resized
    assert predictions(client, [large], "uint8")[0]["classes"][0] == expected[0][0][0]
    answer = ask(client, [images[0], large], "uint8")
    assert answer.status_code == 400 and "instances of different shapes" in answer.json()["error"]
    answer = ask(client, [[[[256]]]], "uint8")
    assert answer.status_code == 400 and "images: uint8 [any, any, any, 1]" in answer.json()["error"]


def test_logits_and_features(client, served, digits, expected):
    preprocessing = data.Preprocessing.load(served.folder / "1" / "preprocessing.json")
    inputs = np.stack([preprocessing.normalise(preprocessing.decode(content)) for content in contents(digits)])
    logits = np.array(predictions(client, inputs.tolist(), "logits"))
    assert logits.shape == (len(digits), 10)
    scores = tf.nn.softmax(logits).numpy()
    names = preprocessing.class_names
    for row, answer in zip(scores, expected, strict=True):
        assert names[int(row.argmax())] == answer[0][0]
        assert row.max() == pytest.approx(answer[0][1], abs=1e-5)
    features = np.array(predictions(client, encoded(*contents(digits)), "features"))
    assert features.shape == (len(digits), 64) and (features.std(0) > 0).any()


@pytest.mark.parametrize(
    ("signature", "instances", "message"),
    [
        ("serving_default", encoded(b"text"), "image_bytes[0]: this is no JPEG, PNG, GIF or BMP"),
        ("features", encoded(b""), "image_bytes[0]: there are no bytes"),
        ("examples", encoded(b"text"), "examples[0]: this is no tf.Example with a whole image"),
        ("logits", [[1.0]], "inputs: float32 [any, 8, 8, 1]"),
        ("serving_default", [1], "image_bytes: string [any]"),
    ],
)
def test_what_is_no_input(signature, instances, message, client):
    answer = ask(client, instances, signature)
    assert answer.status_code == 400 and message in answer.json()["error"]


def test_a_bad_image_is_named_by_its_place(client, digits):
    good = pathlib.Path(digits[0]).read_bytes()
    answer = ask(client, encoded(*[good] * 20, good[:40], good))  # in the second batch
    assert answer.status_code == 400 and "image_bytes[20]: this PNG is damaged" in answer.json()["error"]


def test_new_versions_take_over_and_one_that_fails_is_told_of(served, client, digits, expected):
    """Stands last of those with this server: it ends it."""
    with httpx.Client(base_url=client.base_url, timeout=60) as other:
        (served.folder / "writing-2").mkdir()
        shutil.copytree(served.folder / "1", served.folder / "writing-2", dirs_exist_ok=True)
        (served.folder / "writing-2").rename(served.folder / "2")
        until(lambda: other.get("/readyz").text == "version 2\n")
        check(predictions(other, encoded(*contents(digits[:1])))[0], expected[0])
        (served.folder / "3").mkdir()
        (served.folder / "3/saved_model.pb").write_bytes(b"\xff" * 100)
        until(lambda: state(other, 3) == "END")
        check(predictions(other, encoded(*contents(digits[:1])))[0], expected[0])
        assert other.get("/readyz").text == "version 2\n"
    served.send_signal(signal.SIGTERM)
    assert (served.wait(60), served.stdout.read()) == (0, "")
    first, second = served.errors.read_text().splitlines()
    assert first == "version 2 answers now, in the place of 1"
    assert second.startswith("version 3 cannot be served, 2 goes on: ")


def until(condition):
    """Waits for what is sure to come."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it has not come in two minutes")


def state(client, number):
    """Of a version; None where the server does not know it yet."""
    answer = client.get(f"/v1/models/digits/versions/{number}")
    return answer.json()["model_version_status"][0]["state"] if answer.status_code == 200 else None


@pytest.mark.slow
def test_versions_are_swapped_under_load_without_an_error(bundle, run_dir, digits, expected, tmp_path):
    """To and fro between one that refuses bad images and one that flags them."""
    preprocessing = data.Preprocessing.load(run_dir / "preprocessing.json")
    flagging = serve_bundle.export(
        load_model(run_dir / "model.keras"), tmp_path / "flags", preprocessing, on_bad_image="flag"
    )
    folder = tmp_path / "digits"
    shutil.copytree(bundle / "1", folder / "1")
    good = encoded(*contents(digits[:1]))
    with open(tmp_path / "errors", "w") as errors:
        process, _, address, _ = start(folder, errors)
    with (
        process,
        httpx.Client(base_url=address, timeout=60) as client,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        asked = []
        for number, version in ((2, flagging), (3, bundle / "1")):
            shutil.copytree(version, folder / f"writing-{number}")
            (folder / f"writing-{number}").rename(folder / str(number))
            while client.get("/readyz").text != f"version {number}\n":
                asked += (now := [pool.submit(ask, client, good) for _ in range(8)])
                concurrent.futures.wait(now)
            bad = ask(client, [*good, *encoded(b"text"), *good])
            assert bad.status_code == (200 if version == flagging else 400)
            if version == flagging:
                first, text, last = bad.json()["predictions"]
                assert (first["valid"], text["valid"], last["valid"]) == (True, False, True)
                assert set(text["classes"]) == {""} and set(text["scores"]) == {0.0}
                check(last, expected[0])
        assert len(asked) > 16
        for one in asked:
            assert one.result().status_code == 200
            check(one.result().json()["predictions"][0], expected[0])
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert (tmp_path / "errors").read_text().splitlines() == [
        "version 2 answers now, in the place of 1",
        "version 3 answers now, in the place of 2",
    ]


def ends_with_2(capsys, monkeypatch, *arguments):
    """What is said on stderr, which is one line."""
    monkeypatch.setattr(sys, "argv", ["serve", *map(str, arguments)])
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(SystemExit) as end:
            serve.main()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    output, errors = capsys.readouterr()
    assert (end.value.code, output, errors.count("\n")) == (2, "", 1)
    return errors


def test_a_port_that_is_taken_is_named(capsys, monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        errors = ends_with_2(capsys, monkeypatch, f"--bundle={tmp_path}", f"--port={port}")
    assert errors == (
        f"error: cannot listen at 127.0.0.1:{port} (Address already in use): give another --port or --host.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --bundle=DIR"),
        (["--bundle=x", "y"], "give --bundle=DIR"),
        (["--bundel=x"], "Unknown command line flag 'bundel'. Did you mean: bundle"),
        (["--bundle=x", "--port=99999"], "port"),
        (["--bundle=x", "--max_batch_size=0"], "max_batch_size"),
        (["--bundle=x", "--max_queue=10"], "--max_queue is below --max_instances"),
        (["--bundle=x", "--name=a/b"], "'a/b' cannot stand in an address"),
        (["--bundle=x", "--host=203.0.113.1"], "cannot listen at 203.0.113.1:8501"),
        (["--bundle=x", "--host=no.such.name.invalid"], "cannot listen at no.such.name.invalid:8501"),
    ],
)
def test_wrong_arguments(arguments, message, capsys, monkeypatch):
    assert message in ends_with_2(capsys, monkeypatch, *arguments)


def test_what_is_no_bundle_is_named(tmp_path):
    done = subprocess.run(
        command(f"--bundle={tmp_path / 'none'}", "--port=0"), cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / 'none'} holds no bundle: give the folder that --export_dir named.\n"


def test_a_model_is_called_as_its_folder(tmp_path):
    (tmp_path / "flowers" / "7").mkdir(parents=True)
    (tmp_path / "flowers" / "7" / "saved_model.pb").touch()
    (tmp_path / "2026").mkdir()
    assert serve.name_of(tmp_path / "flowers") == serve.name_of(tmp_path / "flowers" / "7") == "flowers"
    assert serve.name_of(tmp_path / "2026") == "2026"


def test_help():
    done = subprocess.run(command("--help"), cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "kerascnn serve --bundle=EXPORT_DIR --port=8501" in done.stdout
    assert all(f"--{name}=" in done.stdout for name in serve.OPTIONS)


def test_signals_end_it_while_it_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(command(f"--bundle={tmp_path}", f"--port={port}"), cwd=ROOT, stdout=subprocess.PIPE)
    with process:
        until(lambda: listens(port))  # and goes on to import TensorFlow, which takes seconds
        process.send_signal(signal.SIGINT)
        assert (process.wait(60), process.stdout.read()) == (0, b"")


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_the_memory_of_large_bodies_goes_back_to_the_system():
    """Also of those that come after a larger one, which glibc would keep by itself."""
    program = """if True:
        import pathlib, re
        from tools import serve

        def resident():
            return int(re.search(r"VmRSS:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) // 1024

        serve.give_memory_back()
        larger = bytes(range(256)) * 120_000
        del larger
        before = resident()
        bodies = [bytes(range(256)) * 2**15 for _ in range(6)]  # 8 MB each
        assert resident() > before + 40
        del bodies
        assert resident() < before + 8
    """
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("this C library is not glibc")
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
