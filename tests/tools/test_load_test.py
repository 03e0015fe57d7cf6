"""The load generator: what it refuses, what it sees, and what it says of a server that is good, bad, or gone."""

import asyncio
import csv
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import pytest

from kerascnn import data
from tools import load_test
from tools.load_test import Question, Result, Target

ROOT = pathlib.Path(__file__).parents[2]
CLIENTS = 8


@pytest.fixture(scope="module")
def images(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    for i, (encoded, _) in enumerate(data.open_source("digits", data_dir).dataset("test[:8]")):
        (folder / f"{i}.png").write_bytes(encoded.numpy())
    return folder


@pytest.fixture(scope="module")
def server(bundle, tmp_path_factory):
    errors = tmp_path_factory.mktemp("server") / "errors"  # where libjpeg has its say
    command = [sys.executable, "-m", "tools.serve", f"--bundle={bundle}", "--name=digits", "--port=0"]
    with (
        open(errors, "w") as file,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=file, text=True) as process,
    ):
        process.url = re.search(r"http://[\d.]+:\d+", process.stdout.readline())[0]
        yield process
        process.kill()


def run(monkeypatch, capsys, *arguments):
    """(exit code, stdout, stderr)"""
    monkeypatch.setattr(sys, "argv", ["load_test", *map(str, arguments)])
    try:
        load_test.main()
        code = 0
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


def test_loads_are_measured(server, bundle, images, monkeypatch, capsys, tmp_path):
    code, output, errors = run(
        monkeypatch,
        capsys,
        f"--url={server.url}",
        "--model=digits",
        f"--images={images}",
        f"--bundle={bundle}",
        "--clients=1,3",
        "--requests=20",
        f"--csv={tmp_path / 'figures.csv'}",
    )
    assert (code, errors) == (0, "")
    with open(tmp_path / "figures.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = [("status", "1"), ("predict", "1"), ("status", "3"), ("predict", "3")]
    assert [(row["request"], row["clients"]) for row in rows] == kinds
    for row, line in zip(rows, output.splitlines()[1:], strict=True):
        assert row["answers"] == "20" and row["other than 200"] == "none"
        assert 0 < float(row["p50 ms"]) <= float(row["p95 ms"]) <= float(row["p99 ms"])
        assert line.split() == list(row.values())


def test_good_and_bad_requests(server, bundle, images, monkeypatch, capsys):
    arguments = [f"--url={server.url}", "--model=digits", f"--images={images}", f"--bundle={bundle}", "--faults=60"]
    code, output, errors = run(monkeypatch, capsys, *arguments)
    assert (code, errors) == (0, "")
    first, *lines = output.splitlines()
    assert first.startswith("60 requests in ")
    found = {line[2:22].strip(): line[23:] for line in lines}
    kinds = load_test.kinds(Target("", 0, ""), (images / "0.png").read_bytes(), False)
    assert found.keys() == kinds.keys()  # each at least once
    assert re.fullmatch(r"200: \d+", found["good"])
    assert found["good and bad"].startswith("400: ") and found["goes away halfway"].startswith("unread: ")


def questions(target, images, expected=None):
    return [
        Question(load_test.predict(target, load_test.body(path.read_bytes())), expected) for path in images.iterdir()
    ]


def test_wrong_answers_and_a_server_that_is_gone_are_told(server, images):
    target = Target(*load_test.loopback(server.url), "digits")
    asked = questions(target, images, [(str(i), 0.2) for i in range(5)])
    violations = asyncio.run(load_test.measure(target, asked, [2], 10, 60, None))
    assert violations == ["2 clients, predict: 10 answers were wrong"]
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    wrong, gone = asyncio.run(load_test.try_faults(target, asked, 1, 60, ended.pid))
    assert wrong == "1 of 'good' were not answered as they should be"
    assert gone.startswith(f"process {ended.pid} is gone: ")


def test_failures_are_told(server, images):
    target = Target(*load_test.loopback(server.url), "digits")
    asked = [Question(load_test.predict(target, b"{"), None)]
    violations = asyncio.run(load_test.measure(target, asked, [2], 4, 60, None))
    assert violations == ["2 clients, predict: 4 requests failed", "2 clients, predict: no request was answered"]
    with pytest.raises(ValueError, match="other is not served at 127"):
        asyncio.run(load_test.measure(target._replace(model="other"), asked, [1], 1, 60, None))


def test_a_load_ends_in_time(server, images):
    target = Target(*load_test.loopback(server.url), "digits")
    result = Result(2)
    asyncio.run(load_test.load(target, questions(target, images), result, 10**9, 0.2))
    assert result.codes.keys() == {200} and result.seconds >= 0.2


def test_a_connection_that_breaks_is_counted_and_another_made(images):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    served = 0

    async def handle(reader, writer):
        """Answers twice, then goes away in the middle of an answer."""
        nonlocal served
        for content in (answer, answer, answer[:-1]):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(content)
            served += 1
        writer.close()

    async def scenario():
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        target = Target(*server.sockets[0].getsockname(), "digits")
        result = Result(1)
        async with server:
            await load_test.load(target, [Question(load_test.http("GET", "/"), None)], result, 5, 60)
        return result

    result = asyncio.run(scenario())
    assert result.codes == {200: 3, "lost": 2} and served == 6  # the first is not counted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --model=NAME and --images=FILE_OR_DIR"),
        (["--model=x", "--images=y", "z"], "give --model=NAME and --images=FILE_OR_DIR"),
        (["--model=x", "--images=y", "--clients=0"], "--clients=0: give numbers from 1 to 1,000"),
        (["--model=x", "--images=y", "--clients=8,many"], "--clients=8,many: give numbers from 1 to 1,000"),
        (["--model=x", "--images=y", "--faults=5"], "--faults needs --bundle=DIR"),
        (["--model=x", "--images=y", "--url=http://203.0.113.1:80"], "only a server on this machine is put under load"),
        (["--model=x", "--images=y", "--url=https://127.0.0.1"], "give http://127.0.0.1:PORT"),
        (["--model=x", "--images=y", "--url=127.0.0.1:8501"], "give http://127.0.0.1:PORT"),
        (["--model=x", "--images=no-such-file.png"], "no-such-file.png"),
    ],
)
def test_wrong_arguments(arguments, message, monkeypatch, capsys):
    code, output, errors = run(monkeypatch, capsys, *arguments)
    assert (code, output) == (2, "") and message in errors


def test_nobody_there(images, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code, _, errors = run(monkeypatch, capsys, f"--url=http://127.0.0.1:{port}", "--model=x", f"--images={images}")
    assert code == 2 and f"no answer from 127.0.0.1:{port}" in errors


def test_which_answers_are_right():
    expected = [("cat", 0.6), ("dog", 0.3), ("cow", 0.05)]

    def is_right(classes, scores, **more):
        rows = [{"classes": classes, "scores": scores, **more}]
        return load_test.is_right(load_test.json.dumps({"predictions": rows}).encode(), expected)

    assert is_right(["cat", "dog", "cow"], [0.6, 0.3, 0.05])
    assert is_right(["cat", "dog", "cow"], [0.6001, 0.2999, 0.05], valid=True)
    assert is_right(["cat", "dog", "hen"], [0.6, 0.3, 0.05])  # as near as the last
    assert not is_right(["dog", "cat", "cow"], [0.6, 0.3, 0.05])
    assert not is_right(["cat", "hen", "cow"], [0.6, 0.3, 0.05])
    assert not is_right(["cat", "dog", "cow"], [0.61, 0.3, 0.05])
    assert not is_right(["cat", "dog"], [0.6, 0.3])
    assert not is_right(["cat", "dog", "cow"], [0.6, 0.3, 0.05], valid=False)


def test_memory_that_grows_is_told(capsys):
    assert load_test.grown([500] * 4 + [1000, 1010] * 6) == []
    assert load_test.grown([500] * 4 + [1000] * 8 + [1090] * 4) == []
    assert load_test.grown([500] * 4 + [1000] * 8 + [1110] * 4) == ["memory grew by 11%, which is more than 10%"]
    assert load_test.resident(os.getpid()) > 20
    assert "1000 MB in the second quarter, 1110 MB in the last" in capsys.readouterr().out


@pytest.mark.slow
def test_ten_thousand_good_and_bad_requests(server, bundle, images, monkeypatch, capsys):
    code, output, errors = run(
        monkeypatch,
        capsys,
        f"--url={server.url}",
        "--model=digits",
        f"--images={images}",
        f"--bundle={bundle}",
        "--faults=10000",
        f"--pid={server.pid}",
    )
    assert (code, errors) == (0, ""), output
    assert output.startswith("10000 requests in ") and "resident memory: " in output
    assert server.poll() is None


def supervisor():
    """The script in the documentation."""
    (script,) = re.findall(r"```sh\n(#!/bin/sh\n.*?)```", (ROOT / "docs/serving.md").read_text(), re.DOTALL)
    return script


@pytest.mark.slow
def test_a_server_that_is_killed_loses_what_is_in_flight_and_nothing_else(bundle, images, tmp_path):
    (tmp_path / "supervise.sh").write_text(supervisor())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    expected = load_test.answers(str(bundle), [str(path) for path in images.iterdir()])
    target = Target("127.0.0.1", port, "digits")
    asked = [
        Question(load_test.predict(target, load_test.body(pathlib.Path(path).read_bytes())), answer)
        for path, answer in expected.items()
    ]
    command = ["sh", tmp_path / "supervise.sh", sys.executable, "-m", "tools.serve"]
    command += [f"--bundle={bundle}", "--name=digits", f"--port={port}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def ready():
        """The server's process, once it answers."""
        number = None
        for line in process.stdout:
            if started := re.fullmatch(r"supervisor: process (\d+)\n", line):
                number = int(started[1])
            if line.startswith("digits, version 1, at "):
                return number
        raise AssertionError("the supervisor has ended")

    async def more_answers(result):
        before = result.codes[200]
        while result.codes[200] < before + 100:
            await asyncio.sleep(0.05)

    async def scenario():
        server, result = await asyncio.to_thread(ready), Result(CLIENTS)
        load = asyncio.create_task(load_test.load(target, asked, result, 10**9, 600))
        for _ in range(2):
            await more_answers(result)
            os.kill(server, signal.SIGKILL)
            server = await asyncio.to_thread(ready)
        await more_answers(result)
        load.cancel()
        return result

    with process:
        try:
            result = asyncio.run(asyncio.wait_for(scenario(), 300))
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.send_signal(signal.SIGTERM)
    assert result.wrong == 0
    assert result.codes.keys() <= {200, 503, "lost", "refused"}
    assert 1 <= result.codes["lost"] <= 2 * CLIENTS
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_the_supervisor_starts_what_fails_again_and_ends_with_what_is_wrong(tmp_path):
    (tmp_path / "supervise.sh").write_text(supervisor())
    (tmp_path / "fails.sh").write_text("echo x >>count; [ $(wc -l <count) -lt 2 ] && kill -9 $$; exit 2")
    command = ["sh", "supervise.sh", "sh", "fails.sh"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, (tmp_path / "count").read_text()) == (2, "x\nx\n")
    assert re.sub(r"\d+", "N", done.stderr).count("supervisor: process N\n") == 2
