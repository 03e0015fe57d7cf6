"""The server as its clients meet it: the protocol, its bounds, and clients that do not behave."""

import asyncio
import base64
import concurrent.futures
import contextlib
import gc
import io
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import httpx
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from kerascnn.serve.metrics import Metrics
from kerascnn.serve.server import Api, Options, page
from kerascnn.serve.versions import Versions
from tools.serve import OPTIONS

ROOT = pathlib.Path(__file__).parents[2]
LIMITS = {
    "max_request_bytes": 1_000_000,
    "max_instances": 32,
    "max_queue": 40,
    "max_batch_size": 4,
    "max_pixels": 10_000,
    "max_connections": 50,
    "threads": 1,
    "read_seconds": 4.0,
}


def model():
    """Signatures of many kinds; `serving_default` is the example in TensorFlow Serving's documentation."""
    module = tf.Module()

    def signature(**inputs):
        return tf.function(input_signature=[tf.TensorSpec(shape, dtype, key) for key, (shape, dtype) in inputs.items()])

    @signature(x=([None], tf.float32))
    def half_plus_two(x):
        return {"y": x / 2 + 2}

    @signature(tag=([None], tf.string), signal=([None, 2], tf.int64))
    def two(tag, signal):
        return {"tag": tf.identity(tag), "tag_bytes": tf.identity(tag), "sum": tf.reduce_sum(signal, 1)}

    @signature(images=([None, None, None, 3], tf.uint8))
    def uint8(images):
        return {"mean": tf.reduce_mean(tf.cast(images, tf.float32), [1, 2])}

    @signature(x=([None], tf.float32))
    def positive(x):
        wrong = tf.reshape(tf.where(x < 0), [-1])
        message = tf.strings.join(["x[", tf.strings.as_string(tf.reduce_max(wrong)), "] is negative"])
        with tf.control_dependencies([tf.raw_ops.Assert(condition=tf.size(wrong) == 0, data=[message])]):
            return {"root": tf.sqrt(x)}

    @signature(path=([None], tf.string))
    def gate(path):
        """Computes until there is such a file."""
        found = tf.while_loop(lambda n: n < 1, lambda n: [tf.size(tf.io.matching_files(path))], [0])[0]
        return {"found": tf.fill(tf.shape(path), found)}

    @signature(x=([], tf.float32))
    def scalar(x):
        return {"double": 2 * x}

    names = {"serving_default": half_plus_two}
    names |= {"two": two, "uint8": uint8, "positive": positive, "gate": gate, "scalar": scalar}
    for name, function in names.items():
        setattr(module, name, function)
    return module, names


def start(*arguments):
    """(process, address) of a server, once it answers."""
    command = [sys.executable, "-m", "tools.serve", "--port=0", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    found = re.search(r"http://[\d.]+:\d+", line)
    assert found, line + process.communicate()[1]
    return process, found[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "half_plus_two"
    module, signatures = model()
    tf.saved_model.save(module, str(folder / "123"), signatures=signatures)
    return folder


@pytest.fixture(scope="module")
def process(folder):
    limits = [f"--{name}={value}" for name, value in LIMITS.items()]
    process, address = start(f"--bundle={folder}", "--trust", *limits)  # as `gate` looks for a file
    process.address = address
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def client(process):
    # With a connection for each request: one that has been idle for long may be given up just when it is used again.
    with httpx.Client(base_url=process.address, timeout=60, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        yield client


@pytest.fixture(autouse=True)
def alive(request):
    """Whatever a test does to the server, the next request is answered."""
    if "client" in request.fixturenames:
        answer = request.getfixturevalue("client").post(PREDICT, json={"instances": [1.0]})
        assert (answer.status_code, answer.json()) == (200, {"predictions": [2.5]})


MODEL = "/v1/models/half_plus_two"
PREDICT = f"{MODEL}:predict"


def predict(client, content, **options):
    return client.post(PREDICT, json=content, **options)


def metric(client, name):
    found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def until(condition):
    """Waits for what is sure to come."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it has not come in a minute")


# What TensorFlow Serving answers


@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/123"])
def test_status(path, client):
    answer = client.get(path)
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    status = {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert answer.json() == {"model_version_status": [status]}


@pytest.mark.parametrize("path", [f"{MODEL}/metadata", f"{MODEL}/versions/123/metadata"])
def test_metadata(path, client):
    content = client.get(path).json()
    assert content["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
    signatures = content["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "two", "uint8", "positive", "gate", "scalar"} <= signatures.keys()
    assert signatures["two"]["inputs"]["signal"] == {
        "dtype": "DT_INT64",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "2", "name": ""}], "unknown_rank": False},
        "name": "two_signal:0",
    }
    assert signatures["scalar"]["inputs"]["x"]["tensor_shape"] == {"dim": [], "unknown_rank": False}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"instances": [1.0, 2.0, 5.0]}, {"predictions": [2.5, 3.0, 4.5]}),
        ({"instances": [{"x": 1}, {"x": 2}]}, {"predictions": [2.5, 3.0]}),
        ({"inputs": [1.0, 2.0, 5.0]}, {"outputs": [2.5, 3.0, 4.5]}),
        ({"inputs": {"x": [1.0]}, "signature_name": "serving_default"}, {"outputs": [2.5]}),
        ({"inputs": 4, "signature_name": "scalar"}, {"outputs": 8.0}),
        (
            {
                "instances": [{"tag": "é", "signal": [1, 2]}, {"tag": {"b64": "/w=="}, "signal": [3, 4]}],
                "signature_name": "two",
            },
            {
                "predictions": [
                    {"sum": 3, "tag": "é", "tag_bytes": {"b64": "w6k="}},
                    {"sum": 7, "tag": {"b64": "/w=="}, "tag_bytes": {"b64": "/w=="}},
                ]
            },
        ),
        (
            {"inputs": {"tag": ["a"], "signal": [[1, 2]]}, "signature_name": "two"},
            {"outputs": {"sum": [3], "tag": ["a"], "tag_bytes": [{"b64": "YQ=="}]}},
        ),
        (
            {"instances": [[[[1, 2, 3], [3, 4, 255]]]], "signature_name": "uint8"},
            {"predictions": [[2.0, 3.0, 129.0]]},
        ),
        ({"instances": list(range(30))}, {"predictions": [2 + i / 2 for i in range(30)]}),  # more than a batch
    ],
)
@pytest.mark.parametrize("path", [PREDICT, f"{MODEL}/versions/123:predict"])
def test_predictions(path, content, expected, client):
    answer = client.post(path, content=json.dumps(content))
    assert (answer.status_code, answer.json()) == (200, expected)
    assert re.fullmatch(r"total;dur=\d+\.\d", answer.headers["server-timing"])


def test_numbers_that_json_lacks(client):
    answer = client.post(PREDICT, content='{"instances": [NaN, Infinity, -Infinity]}')
    assert answer.text == '{"predictions": [NaN, Infinity, -Infinity]}'


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "message"),
    [
        ("GET", "/v1/models/other", "", 404, "Could not find any versions of model other"),
        ("GET", "/v1/models/other/versions/1", "", 404, "Could not find version 1 of model other"),
        ("GET", f"{MODEL}/versions/7", "", 404, "Could not find version 7 of model half_plus_two"),
        ("GET", "/v1/models/other/metadata", "", 404, "Servable not found for request: Latest(other)"),
        ("GET", f"{MODEL}/versions/7/metadata", "", 404, "Servable not found for request: Specific(half_plus_two, 7)"),
        ("POST", "/v1/models/other:predict", "{}", 404, "Servable not found for request: Latest(other)"),
        (
            "POST",
            "/v1/models/other/versions/2:predict",
            "{}",
            404,
            "Servable not found for request: Specific(other, 2)",
        ),
        (
            "POST",
            f"{MODEL}/versions/7:predict",
            "{}",
            404,
            "Servable not found for request: Specific(half_plus_two, 7)",
        ),
        ("POST", f"{MODEL}/versions/{2**63}:predict", "{}", 400, f"Failed to convert version: {2**63} to numeric."),
        ("GET", "/v1/models", "", 400, "Malformed request: GET /v1/models"),
        ("GET", "/v2/health", "", 404, "Malformed request: GET /v2/health"),
        ("GET", f"{MODEL}/versions/x", "", 400, "Malformed request"),
        ("POST", f"{MODEL}:classify", "{}", 400, ":classify is not served, only :predict is"),
        ("POST", PREDICT, "", 400, "JSON Parse error"),
        ("POST", PREDICT, "{", 400, "JSON Parse error"),
        ("POST", PREDICT, "[]", 400, "must be a JSON object"),
        ("POST", PREDICT, "[" * 500_000, 400, "nested too deeply"),
        ("POST", PREDICT, "{}", 400, "Missing 'inputs' or 'instances' key. This signature takes x: float32 [any]"),
        ("POST", PREDICT, '{"instances": ["a"]}', 400, "'x': \"a\" is a string"),
        ("POST", PREDICT, '{"instances": [[1, 2]]}', 400, "'x' is of shape [1, 2]"),
        ("POST", PREDICT, '{"instances": [1], "signature_name": 1}', 400, "'signature_name' must be a string"),
        (
            "POST",
            PREDICT,
            '{"instances": [1], "signature_name": "none"}',
            400,
            'Serving signature name: "none" not found in signature def. There are gate, positive, scalar',
        ),
        (
            "POST",
            PREDICT,
            '{"inputs": {"tag": ["a"]}, "signature_name": "two"}',
            400,
            "signal: int64 [any, 2], tag: string",
        ),
        (
            "POST",
            PREDICT,
            '{"inputs": {"tag": ["a"], "signal": [[1, 2], [1, 2]]}, "signature_name": "two"}',
            400,
            "the inputs must have a common first dimension",
        ),
        ("POST", PREDICT, json.dumps({"instances": [1] * 33}), 400, "33 instances are more than 32"),
        ("POST", PREDICT, '{"instances": [4, -1], "signature_name": "positive"}', 400, "x[1] is negative"),
        (
            "POST",
            PREDICT,
            json.dumps({"instances": [4] * 9 + [-1] + [4] * 9, "signature_name": "positive"}),  # in the third batch
            400,
            "x[9] is negative",
        ),
    ],
)
def test_errors(method, path, content, status, message, client):
    answer = client.request(method, path, content=content)
    assert answer.status_code == status and answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"} and message in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", MODEL, "GET, HEAD"),
        ("GET", PREDICT, "POST"),
        ("DELETE", "/", "GET, HEAD"),
        ("PUT", "/metrics", "GET, HEAD"),
    ],
)
def test_other_methods(method, path, allowed, client):
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert "is not what this answers" in answer.json()["error"]


def test_compressed_bodies_are_refused(client):
    assert client.post(PREDICT, content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}).status_code == 415


# Images


def image(format, width, height):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (width, height)).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP"])
def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(format, client):
    def ask(*images):
        instances = [{"tag": {"b64": base64.b64encode(one).decode()}, "signal": [1, 2]} for one in images]
        return predict(client, {"instances": instances, "signature_name": "two"})

    assert ask(*[image(format, 100, 100)] * 6).status_code == 200
    answer = ask(image(format, 100, 100), image(format, 100, 101))
    assert answer.status_code == 400
    assert "tag[1]: an image of 10,100 pixels; this server takes up to 10,000" in answer.json()["error"]


# Bounds


def test_a_body_is_refused_when_it_passes_the_bound_whatever_its_header_says(client):
    large = b" " * 1_000_001
    for content in (large, iter([large[:600_000], large[600_000:]])):  # with Content-Length, and without
        answer = client.post(PREDICT, content=content)
        assert answer.status_code == 413 and "larger than 1,000,000 bytes" in answer.json()["error"]


def raw(process, content=b""):
    """A connection that has sent this."""
    host, _, port = process.address.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(content)
    return connection


def rest_of(connection):
    with connection:
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


HEAD = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n".encode()


def test_a_client_that_asks_first_need_not_send_a_large_body(process, client):
    connection = raw(process, HEAD + b"Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
    assert rest_of(connection).startswith(b"HTTP/1.1 413 ")
    connection = raw(process, HEAD + b"Content-Length: 18\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
    assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"[:25]
    connection.sendall(b'{"instances": [1]}')
    assert b'{"predictions": [2.5]}' in rest_of(connection)


def test_slow_clients_are_given_up(process, client):
    head = raw(process, HEAD)
    silent = raw(process)
    body = raw(process, HEAD + b"Content-Length: 18\r\n\r\n" + b'{"instan')
    answer = rest_of(body)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"has not arrived within 4 s" in answer
    for connection in (head, silent):
        with contextlib.suppress(ConnectionResetError):
            assert rest_of(connection) == b""


def test_what_is_no_http(process, client):
    assert rest_of(raw(process, b"\x16\x03\x01 hello\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert rest_of(raw(process, HEAD + b"Content-Length: -1\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert rest_of(raw(process, HEAD + b"X: " + b"x" * 20_000)).startswith(b"HTTP/1.1 400 ")


def test_more_connections_than_allowed(process, client):
    connections = [raw(process) for _ in range(LIMITS["max_connections"])]
    last = raw(process, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert rest_of(last).startswith(b"HTTP/1.1 503 ")
    for connection in connections:
        connection.close()
    until(lambda: b"200 OK" in rest_of(raw(process, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")))


def test_a_connection_is_used_again(process, client):
    body = b'{"instances": [1]}'
    one = HEAD + b"Content-Length: 18\r\n\r\n" + body
    last = HEAD + b"Content-Length: 18\r\nConnection: close\r\n\r\n" + body
    assert rest_of(raw(process, one + one + last)).count(b'{"predictions": [2.5]}') == 3


def waiting_for(process, path):
    """A connection on which an answer comes once this file is there; until then the only thread computes it."""
    body = json.dumps({"instances": [str(path)], "signature_name": "gate"}).encode()
    return raw(process, HEAD + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)


def begun(client):
    """How many batches have begun."""
    return metric(client, "kerascnn_batch_images_count")


def test_a_full_queue_sends_clients_away(process, client, tmp_path):
    before = begun(client)
    computed = waiting_for(process, tmp_path / "go")
    until(lambda: begun(client) > before)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = [pool.submit(predict, client, {"instances": [i] * 20}) for i in range(2)]
        until(lambda: metric(client, "kerascnn_queue_images") == 40)
        answer = predict(client, {"instances": [1]})
        assert answer.status_code == 429 and "40 images wait already" in answer.json()["error"]
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        (tmp_path / "go").touch()
        assert [one.result().json()["predictions"][0] for one in waiting] == [2.0, 2.5]
    assert b" 200 OK" in rest_of(computed)


def test_what_is_too_late_or_not_waited_for_is_not_computed(process, client, tmp_path):
    before = begun(client)
    computed = waiting_for(process, tmp_path / "go")
    until(lambda: begun(client) > before)
    gone = metric(client, 'kerascnn_requests_total{code="499",endpoint="predict"}')
    with waiting_for(process, tmp_path / "never"):  # which would take for ever
        until(lambda: metric(client, "kerascnn_queue_images") == 1)
    until(lambda: metric(client, 'kerascnn_requests_total{code="499",endpoint="predict"}') == gone + 1)
    never = {"instances": [str(tmp_path / "never")], "signature_name": "gate"}
    answer = predict(client, never, headers={"X-Request-Timeout": "20"})
    assert answer.status_code == 504 and "deadline" in answer.json()["error"]
    assert metric(client, "kerascnn_queue_images") == 0
    (tmp_path / "go").touch()
    assert b" 200 OK" in rest_of(computed)


def test_deadlines_that_are_none(client):
    answer = predict(client, {"instances": [1]}, headers={"X-Request-Timeout": "soon"})
    assert answer.status_code == 400 and "X-Request-Timeout" in answer.json()["error"]


def test_good_and_bad_requests_at_the_same_time_each_get_their_own_answer(process):
    rng = np.random.default_rng(0)
    asked = [rng.integers(-2, 30, rng.integers(1, 4)).tolist() for _ in range(200)]
    with (
        httpx.Client(base_url=process.address, timeout=60) as client,
        concurrent.futures.ThreadPoolExecutor(16) as pool,
    ):
        contents = [{"instances": values, "signature_name": "positive"} for values in asked]
        answers = list(pool.map(lambda content: predict(client, content), contents))
        assert metric(client, 'kerascnn_batch_images_bucket{le="1.0"}') < begun(client)  # some were joined
    for values, answer in zip(asked, answers, strict=True):
        if min(values) < 0:
            assert answer.status_code == 400
            wrong = max(i for i, value in enumerate(values) if value < 0)
            assert answer.json()["error"] == f"x[{wrong}] is negative"
        else:
            assert answer.json()["predictions"] == pytest.approx(np.sqrt(values), rel=1e-6)


# Memory


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"instances": ["x"]}, "'x'"),  # refused in the thread that reads JSON
        ({"instances": [-1.0], "signature_name": "positive"}, "x[0] is negative"),  # and in the one that computes
    ],
)
def test_what_a_refused_request_has_sent_is_let_go_at_once(content, message, folder):
    """Not when Python next looks for circles. In this process, so that it can be seen."""
    limits = {key: int(default) for key, (default, _, _) in OPTIONS.items()}
    options = Options("half_plus_two", **limits)
    body = json.dumps(content).encode() + b" " * 10_000_000
    metrics = Metrics()
    versions = Versions(folder, options.name, metrics, trust=True, tell=print)
    answers = []

    async def receive():
        if not asked:
            await asyncio.Future()  # the client stays
        return {"type": "http.request", "body": asked.pop()}

    async def send(message):
        answers.append(message)

    async def scenario():
        await versions.start()
        api = Api(versions, metrics, options)
        scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": [], "state": {}}
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        await api(scope, receive, send)
        api.close()

    asked = [body]
    try:
        asyncio.run(scenario())
        gc.collect()
        kept = [value for found in gc.garbage for value in gc.get_referents(found)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert message in json.loads(answers[-1]["body"])["error"]
    assert not [value for value in kept if isinstance(value, bytes | bytearray) and len(value) >= len(body)]


# For people and supervisors


def test_health_and_metrics(client):
    assert (client.get("/healthz").status_code, client.get("/readyz").text) == (200, "version 123\n")
    before = metric(client, 'kerascnn_requests_total{code="200",endpoint="predict"}')
    predict(client, {"instances": [1, 2, 3]})
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert metric(client, 'kerascnn_requests_total{code="200",endpoint="predict"}') == before + 1
    for name in (
        "kerascnn_version 123.0",
        "kerascnn_queue_images 0.0",
        "process_resident_memory_bytes",
        "kerascnn_batch",
    ):
        assert name in answer.text


def test_the_page_needs_nothing_from_elsewhere(client):
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'"
    assert policy["script-src"].startswith("'sha256-") and policy["style-src"].startswith("'sha256-")
    assert not re.search(r"(src|href)=(?!\"data:,)", answer.text) and "//" not in answer.text
    assert client.head("/").status_code == 200 and client.head("/").content == b""


def test_a_models_name_is_text_on_the_page():
    text, _ = page('<script>alert("1")</script>')
    assert text.count(b"<script>") == 1 and b"&lt;script&gt;alert(&#34;1&#34;)" in text


def test_sigterm_lets_what_has_begun_end(process, client, tmp_path):
    """Stands last: it ends the server."""
    before = begun(client)
    computed = waiting_for(process, tmp_path / "go")
    until(lambda: begun(client) > before)
    process.send_signal(signal.SIGTERM)
    until(lambda: refuses(process))
    (tmp_path / "go").touch()
    assert b'{"predictions": [1]}' in rest_of(computed)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "", "")


def refuses(process):
    try:
        raw(process).close()
    except ConnectionRefusedError:
        return True
    return False
