"""Asks a server on this machine as many clients do at once: how fast it answers, and what bad requests do to it.

python -m tools.load_test --url=http://127.0.0.1:8501 --model=NAME --images=FILE_OR_DIR,... [--clients=1,8,64,256]
python -m tools.load_test --url=http://127.0.0.1:8501 --model=NAME --images=FILE_OR_DIR,... --bundle=DIR \
    --faults=10000 [--pid=PID]

The first asks for one image at a time, over connections that stay open. Above each row of predictions stands one of the
model's status, by the same client: what HTTP and the client cost by themselves, which is a lot where both sides share
two cores. With --bundle, every answer is compared with what the bundle says when it is asked without a server.

The second mixes good requests with truncated images, wrong types, huge and deep JSON, 50-megapixel images, slow clients
and dropped connections. Every good one must be answered as the bundle says, every bad one with its code, and with --pid
the server's memory must not grow. What does not hold is told, and the exit code is 1.

Only addresses of this machine are asked; both end after so many requests, and after so many seconds.
"""

import asyncio
import base64
import collections
import contextlib
import csv
import dataclasses
import io
import ipaddress
import itertools
import json
import random
import re
import socket
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
from absl import flags

from kerascnn import console

MAX_CLIENTS = 1000
MAX_IMAGES = 256  # files that are asked for in turn
SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
FORMATS = ("JPEG", "PNG", "GIF", "BMP")

SECONDS = {"load": 10.0, "faults": 900.0}  # the defaults; of each number of clients, and of all faults
PATIENCE = 120  # seconds for one answer: a server that does not answer at all must not hold this up
PAUSE = 0.05  # seconds, after 429, 503 or a connection that failed

FAULTY_CLIENTS = 16
SAMPLE_SECONDS = 0.1
# How far the median of the server's resident memory may rise from the second quarter of the run to the last.
MAX_GROWTH = 0.1

Expected = list[tuple[str, float]]  # (class, score) best first

COLUMNS = ("request", "clients", "answers", "per second", "p50 ms", "p95 ms", "p99 ms", "client CPU", "other than 200")


class Target(NamedTuple):
    """Who is asked."""

    host: str
    port: int
    model: str

    @property
    def path(self) -> str:
        return f"/v1/models/{self.model}"


class Question(NamedTuple):
    """A request as it goes over the wire, and what is to come back; None where that is not known."""

    request: bytes
    expected: Expected | None


@dataclasses.dataclass
class Result:
    """What came of a load.

    Attributes:
      clients: how many asked at the same time.
      times: seconds of each answer with code 200.
      codes: how often each code came. `lost` counts requests whose connection broke before their answer was there,
        `refused` connections that could not be made.
      wrong: answers that were not what was expected.
      seconds: from the first request to the last answer.
      cpu_seconds: that this process computed meanwhile.
    """

    clients: int
    times: list[float] = dataclasses.field(default_factory=list)
    codes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    wrong: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def main() -> None:
    values = flags.FlagValues()
    for name, default, text in (
        ("url", "http://127.0.0.1:8501", "the server; on this machine"),
        ("model", None, "the model's name"),
        ("bundle", None, "the folder of what it serves: to know the right answers"),
        ("csv", None, "a file for the figures"),
    ):
        flags.DEFINE_string(name, default, text, flag_values=values)
    flags.DEFINE_list("images", [], f"files to ask for, or folders of them; up to {MAX_IMAGES}", flag_values=values)
    flags.DEFINE_list("clients", ["1", "8", "64", "256"], "how many ask at the same time", flag_values=values)
    for name, count, text in (
        ("requests", 10_000, "requests for each number of clients, at most"),
        ("faults", 0, "instead of a load, so many good and bad requests"),
        ("pid", None, "the server's process, whose memory is watched under --faults"),
    ):
        flags.DEFINE_integer(name, count, text, lower_bound=0, flag_values=values)
    text = f"at most; by default {SECONDS['load']:g} for each number of clients, {SECONDS['faults']:g} for all faults"
    flags.DEFINE_float("seconds", None, text, lower_bound=0.1, upper_bound=3600, flag_values=values)
    rest = console.parse_flags(values, __doc__)
    if rest or not values.model or not values.images:
        console.fail("give --model=NAME and --images=FILE_OR_DIR,... (--help shows all flags)")
    clients = [int(text) for text in values.clients if text.isdecimal() and 1 <= int(text) <= MAX_CLIENTS]
    if not clients or len(clients) != len(values.clients):
        console.fail(f"--clients={','.join(values.clients)}: give numbers from 1 to {MAX_CLIENTS:,}.")
    if values.faults and not values.bundle:
        console.fail("--faults needs --bundle=DIR, to know the right answers.")
    try:
        target = Target(*loopback(values.url), values.model)
        paths = files(values.images)
        requests = {path: predict(target, body(Path(path).read_bytes())) for path in paths}
        expected = answers(values.bundle, paths) if values.bundle else {}
    except (ValueError, OSError) as error:
        console.fail(error)
    questions = [Question(request, expected.get(path)) for path, request in requests.items()]
    seconds = values.seconds or SECONDS["faults" if values.faults else "load"]
    try:
        if values.faults:
            violations = asyncio.run(try_faults(target, questions, values.faults, seconds, values.pid))
        else:
            violations = asyncio.run(measure(target, questions, clients, values.requests, seconds, values.csv))
    except (ValueError, OSError) as error:
        console.fail(error)
    if violations:
        console.fail("; ".join(violations), code=1)


def loopback(url: str) -> tuple[str, int]:
    """The address and port of a server on this machine.

    Raises:
      ValueError: it is on another one, or the url is none.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/"):
        raise ValueError(f"--url={url}: give http://127.0.0.1:PORT.")
    try:
        address = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_STREAM)[0][4]
    except OSError as error:
        raise ValueError(f"--url={url}: {error.strerror}.") from None
    host, port = str(address[0]), int(address[1])
    if not ipaddress.ip_address(host).is_loopback:
        raise ValueError(f"--url={url}: only a server on this machine is put under load, as at 127.0.0.1, not {host}.")
    return host, port


def files(places: Sequence[str]) -> list[str]:
    """The image files that are named, and those in the folders that are."""
    found = []
    for place in map(Path, places):
        inside = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES) if place.is_dir() else []
        if place.is_dir() and not inside:
            raise ValueError(f"{place} holds no images ({', '.join(SUFFIXES)}).")
        found += inside or [place]
    return [str(path) for path in found[:MAX_IMAGES]]


def answers(bundle: str, paths: Sequence[str]) -> dict[str, Expected]:
    """What a bundle says of each image, asked without a server.

    Raises:
      ValueError: the bundle cannot be loaded, or an image is none.
    """
    with console.quiet_start():
        from kerascnn.serve.client import classify, open_bundle
    found = {}
    for path, answer in classify(open_bundle(bundle), paths):
        if isinstance(answer, str):
            raise ValueError(f"{path}: {answer}.")
        found[path] = answer
    return found


def body(*images: bytes, **more: object) -> bytes:
    """The body of a request for these images."""
    return json.dumps({"instances": [{"b64": base64.b64encode(image).decode()} for image in images], **more}).encode()


def http(method: str, path: str, content: bytes = b"", *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


def predict(target: Target, content: bytes, *headers: str, path: str = "") -> bytes:
    return http("POST", path or f"{target.path}:predict", content, *headers)


# A client that costs little: streams, and as much of HTTP as our answers need. A full one takes more of the two cores
# than the server does.


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """(code, body, whether the connection ends with it).

    Raises:
      OSError, asyncio.IncompleteReadError: the connection broke before.
      ValueError: this is no HTTP.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    if not re.match(rb"HTTP/1.1 \d{3} ", head):
        raise ValueError(f"what came is no HTTP: {head[:99]!r}")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    content = await (reader.readexactly(int(length[1])) if length else reader.read())
    return int(head[9:12]), content, bool(re.search(rb"\r\nconnection: *close", head, re.IGNORECASE))


def is_right(content: bytes, expected: Expected) -> bool:
    """Whether an answer names these classes with these scores; ones that are nearly equal may change places."""
    (row,) = json.loads(content)["predictions"]
    given = dict(zip(row["classes"], row["scores"], strict=True))

    def near(score, other):
        return abs(score - other) <= 1e-6 + 1e-3 * other

    last = expected[-1][1]
    return (
        len(given) == len(expected)
        and row.get("valid", True)
        and all(near(score, other) for score, (_, other) in zip(row["scores"], expected, strict=True))
        and all(near(given.get(name, last), score) for name, score in expected)
    )


async def load(target: Target, questions: Sequence[Question], result: Result, count: int, seconds: float) -> None:
    """Asks in turn, and fills the result; at most `count` times and for so many seconds.

    Each client sends a request when it has the answer to the one before; 429, 503 and broken connections are followed
    by a pause. What comes before each client's first answer is not counted.
    """
    turns = itertools.cycle(questions)
    left = count
    all_begun = asyncio.Barrier(result.clients)
    end = time.perf_counter() + PATIENCE

    async def client():
        nonlocal left, end
        streams = None
        try:
            streams, _, _ = await ask(streams, next(turns), None)
            if await all_begun.wait() == 0:
                result.seconds, result.cpu_seconds = time.perf_counter(), time.process_time()
                end = time.perf_counter() + seconds
            await all_begun.wait()
            while left > 0 and time.perf_counter() < end:
                left -= 1
                question = next(turns)
                streams, code, content = await ask(streams, question, result)
                if code != 200:
                    await asyncio.sleep(PAUSE)
                elif question.expected is not None and not is_right(content, question.expected):
                    result.wrong += 1
        finally:
            if streams:
                streams[1].close()

    async def ask(streams, question, result):
        """(the streams to go on with, the code, the body)"""
        began = time.perf_counter()
        try:
            streams = streams or await asyncio.open_connection(target.host, target.port)
        except OSError:
            code, content = "refused", b""
        else:
            try:
                streams[1].write(question.request)
                async with asyncio.timeout(PATIENCE):
                    code, content, ends = await read_answer(streams[0])
            except (OSError, asyncio.IncompleteReadError):
                code, content, ends = "lost", b"", True
            if ends:
                streams[1].close()
                streams = None
        if result:
            result.codes[code] += 1
            if code == 200:
                result.times.append(time.perf_counter() - began)
        return streams, code, content

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(result.clients):
                group.create_task(client())
    finally:
        result.seconds = time.perf_counter() - result.seconds
        result.cpu_seconds = time.process_time() - result.cpu_seconds


async def measure(
    target: Target, questions: Sequence[Question], clients: Sequence[int], count: int, seconds: float, path: str | None
) -> list[str]:
    """Prints a table, writes it as CSV too where there is a path, and returns what was wrong."""
    await check_status(target)
    status = [Question(http("GET", target.path), None)]
    rows, violations = [], []
    print(" ".join(f"{column:>10}" for column in COLUMNS))
    for number in clients:
        for kind, asked in (("status", status), ("predict", questions)):
            result = Result(number)
            await load(target, asked, result, count, seconds)
            rows.append(row := figures(kind, result))
            print(" ".join(f"{cell:>10}" for cell in row), flush=True)
            wrong = f"{number} clients, {kind}: "
            if result.wrong:
                violations.append(f"{wrong}{result.wrong} answers were wrong")
            if unwanted := sum(result.codes.values()) - sum(result.codes[code] for code in (200, 429, 503)):
                violations.append(f"{wrong}{unwanted} requests failed")
            if not result.times:
                violations.append(f"{wrong}no request was answered")
    if path:
        with open(path, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
    return violations


def figures(kind: str, result: Result) -> list[str]:
    """A row of the table."""
    percentiles = np.percentile(result.times, [50, 95, 99]) * 1000 if result.times else [float("nan")] * 3
    others = counts({code: count for code, count in result.codes.items() if code != 200})
    return [
        kind,
        str(result.clients),
        str(len(result.times)),
        f"{len(result.times) / result.seconds:.1f}",
        *(f"{value:.2f}" for value in percentiles),
        f"{result.cpu_seconds / result.seconds:.0%}",
        others or "none",
    ]


def counts(codes: Mapping[int | str, int]) -> str:
    return ", ".join(f"{code}: {count}" for code, count in sorted(codes.items(), key=str))


async def check_status(target: Target) -> None:
    """Raises a ValueError where the model is not served there."""
    try:
        reader, writer = await asyncio.open_connection(target.host, target.port)
        writer.write(http("GET", target.path, b"", "Connection: close"))
        async with asyncio.timeout(PATIENCE):
            code, content, _ = await read_answer(reader)
        writer.close()
    except (OSError, asyncio.IncompleteReadError) as error:
        raise ValueError(f"no answer from {target.host}:{target.port}: {error}") from None
    if code != 200:
        raise ValueError(f"{target.model} is not served at {target.host}:{target.port}: {content.decode()}")


class Kind(NamedTuple):
    """One kind of good or bad request.

    Attributes:
      share: how often it comes, to the others'.
      codes: that are right; empty for a client that does not read its answer.
      request: what is sent; None for a good question.
      send: how.
    """

    share: float
    codes: set[int]
    request: bytes | None
    send: Callable


async def whole(writer, request):
    writer.write(request)
    await writer.drain()


async def slowly(writer, request):
    """Within a second."""
    step = len(request) // 10 + 1
    for start in range(0, len(request), step):
        await whole(writer, request[start : start + step])
        await asyncio.sleep(0.1)


async def half(writer, request):
    await whole(writer, request[: len(request) // 2])


def kinds(target: Target, image: bytes, flags_bad_images: bool) -> dict[str, Kind]:
    """The kinds by their names.

    Args:
      target: who is asked.
      image: a good one, to be spoiled.
      flags_bad_images: whether the bundle answers bad images, instead of refusing them.
    """
    cut = [truncated(image, format) for format in FORMATS]
    bad_image = {200} if flags_bad_images else {400}
    version, other = f"{target.path}/versions/{10**9}:predict", "/v1/models/no-such-model:predict"

    def ask(content, *headers, path=""):
        return predict(target, content, "Connection: close", *headers, path=path)

    good = body(image)
    chunked = b"\r\n".join([b"%x" % len(good), good, b"0", b"", b""])
    length = f"Content-Length: {len(chunked)}".encode()
    # fmt: off
    return {
        "good":              Kind(40,   {200},      None, whole),
        "good, slowly":      Kind(1,    {200},      None, slowly),
        "good, in chunks":   Kind(1,    {200},      ask(chunked).replace(length, b"Transfer-Encoding: chunked"), whole),
        **{f"truncated {format}": Kind(2, bad_image, ask(body(content)), whole)
           for format, content in zip(FORMATS, cut, strict=True)},
        "good and bad":      Kind(2,    bad_image,  ask(body(image, cut[0], image)), whole),
        "no image":          Kind(2,    bad_image,  ask(body(b"text")), whole),
        "no base64":         Kind(2,    {400},      ask(b'{"instances": [{"b64": "_-8="}]}'), whole),
        "wrong types":       Kind(4,    {400},      ask(b'{"instances": [[1], {"x": 2}]}'), whole),
        "no JSON":           Kind(2,    {400},      ask(b'{"instances": ['), whole),
        "no HTTP":           Kind(1,    {400},      b"\x16\x03\x01 hello\r\n\r\n", whole),
        "unknown signature": Kind(1,    {400},      ask(body(image, signature_name="none")), whole),
        "unknown version":   Kind(1,    {404},      ask(body(image), path=version), whole),
        "unknown model":     Kind(1,    {404},      ask(body(image), path=other), whole),
        "wrong method":      Kind(1,    {405},      ask(b"").replace(b"POST", b"GET", 1), whole),
        "deep JSON":         Kind(1,    {400},      ask(b"[" * 1_000_000), whole),
        "many numbers":      Kind(0.3,  {400},      ask(b'{"instances": [' + b"1," * 5_000_000 + b"1]}"), whole),
        "a long text":       Kind(0.3,  bad_image,  ask(b'{"instances": ["' + b"x" * 20_000_000 + b'"]}'), whole),
        "a huge body":       Kind(0.2,  {413},      ask(b" " * 40_000_000), whole),
        "50 megapixels":     Kind(0.5,  {200, 400}, ask(body(blank(8192, 6144, "JPEG"))), whole),
        "50 megapixels, PNG": Kind(0.5, {200, 400}, ask(body(blank(8192, 6144, "PNG"))), whole),
        "33 megapixels, PNG": Kind(0.1, {200, 400}, ask(body(blank(5792, 5792, "PNG"))), whole),
        "a billion pixels":  Kind(0.5,  bad_image | {400}, ask(body(claims(blank(99, 99, "PNG"), 2**15))), whole),
        "goes away":         Kind(4,    set(),      ask(body(image)), whole),
        "goes away halfway": Kind(4,    set(),      ask(body(image)), half),
    }
    # fmt: on


def truncated(image: bytes, format: str) -> bytes:
    """An image in another format, of whose pixels the last part is missing."""
    buffer = io.BytesIO()
    PIL.Image.open(io.BytesIO(image)).convert("RGB").save(buffer, format)
    content = buffer.getvalue()
    return content[: len(content) - max(len(content) // 10, 20)]


def blank(width: int, height: int, format: str) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (width, height), (10, 200, 30)).save(buffer, format)
    return buffer.getvalue()


def claims(png: bytes, side: int) -> bytes:
    """A PNG whose header tells of another size."""
    return png[:16] + side.to_bytes(4, "big") * 2 + png[24:]


async def try_faults(
    target: Target, questions: Sequence[Question], count: int, seconds: float, pid: int | None
) -> list[str]:
    """Sends so many requests of all kinds, prints what came of them, and returns what was wrong."""
    await check_status(target)
    image = base64.b64decode(json.loads(questions[0].request.partition(b"\r\n\r\n")[2])["instances"][0]["b64"])
    table = kinds(target, image, await flags_bad_images(target))
    chance = random.Random(0)
    shares = [kind.share for kind in table.values()]
    queue = collections.deque([*table, *chance.choices(list(table), shares, k=count)][:count])
    codes = collections.defaultdict[str, collections.Counter](collections.Counter)
    wrong: collections.Counter = collections.Counter()
    memory: list[int] = []
    began = time.perf_counter()

    async def one(name):
        kind, question = table[name], chance.choice(questions)
        expected = question.expected if kind.request is None else questions[0].expected
        request = kind.request or question.request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        while True:
            code, content = await once(target, request, kind, chance.random() < 0.5)
            codes[name][code] += 1
            if code not in (429, 503):  # those are told to come again, and do
                break
            await asyncio.sleep(PAUSE)
        right = code in kind.codes if kind.codes else code == "unread"
        if name.startswith("good,") or name == "good":
            right = right and is_right(content, expected)
        elif code == 200 and "megapixels" not in name:
            right = right and not all(row["valid"] for row in json.loads(content)["predictions"])
        wrong[name] += not right

    async def client():
        while queue and time.perf_counter() < began + seconds:
            await one(queue.popleft())

    async def watch():
        while pid:
            memory.append(resident(pid))
            await asyncio.sleep(SAMPLE_SECONDS)

    watching = asyncio.create_task(watch())
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(FAULTY_CLIENTS, count)):
                group.create_task(client())
    finally:
        watching.cancel()
        await asyncio.wait({watching})
    violations = [
        f"{number} of {name!r} were not answered as they should be" for name, number in wrong.items() if number
    ]
    if queue:
        violations.append(f"{len(queue)} of {count} were not sent within {seconds:g} s")
    print(f"{count - len(queue)} requests in {time.perf_counter() - began:.0f} s")
    for name in table:
        if codes[name]:
            print(
                f"  {name:20}", ", ".join(f"{code}: {number}" for code, number in sorted(codes[name].items(), key=str))
            )
    if pid and not watching.cancelled():
        return [*violations, f"process {pid} is gone: {watching.exception()}"]
    await check_status(target)
    return violations + (grown(memory) if pid else [])


async def flags_bad_images(target: Target) -> bool:
    """Whether an image that is none is answered, with `valid` false."""
    request = predict(target, body(b"text"), "Connection: close")
    code, _ = await once(target, request, Kind(1, {200, 400}, request, whole), False)
    return code == 200


async def once(target: Target, request: bytes, kind: Kind, abruptly: bool) -> tuple[int | str, bytes]:
    """(the code, the body) of a request on a connection of its own."""
    try:
        reader, writer = await asyncio.open_connection(target.host, target.port)
    except OSError:
        return "refused", b""
    try:
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(OSError):  # refused before all was sent: the answer may be there
                await kind.send(writer, request)
            if not kind.codes:
                return "unread", b""
            code, content, _ = await read_answer(reader)
            return code, content
    except (OSError, asyncio.IncompleteReadError):
        return "lost", b""
    finally:
        if abruptly:
            writer.transport.abort()
        else:
            writer.close()


def resident(pid: int) -> int:
    """Megabytes of a process that are in memory."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024  # type: ignore[index]


def grown(memory: Sequence[int]) -> list[str]:
    """What is wrong with the megabytes of a process, seen at equal distances; prints them."""
    quarter = max(len(memory) // 4, 1)
    second, last = (float(np.median(part)) for part in (memory[quarter : 2 * quarter] or memory, memory[-quarter:]))
    print(
        f"resident memory: {memory[0]} MB at first, {second:.0f} MB in the second quarter, {last:.0f} MB in the last, "
        f"{max(memory)} MB at most, {memory[-1]} MB at the end"
    )
    if last > second * (1 + MAX_GROWTH):
        return [f"memory grew by {last / second - 1:.0%}, which is more than {MAX_GROWTH:.0%}"]
    return []


if __name__ == "__main__":
    main()
