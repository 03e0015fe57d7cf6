"""The page at / in a browser: what a person does with it, and what it shows then."""

import base64
import contextlib
import io
import json
import os
import pathlib
import re
import select
import shutil
import subprocess
import sys

import PIL.Image
import pytest

from kerascnn import data

pytestmark = pytest.mark.system

ROOT = pathlib.Path(__file__).parents[2]
PATIENCE = 60  # seconds without a word


@pytest.fixture(scope="module")
def address(bundle):
    """Of a server that the page comes from."""
    command = [sys.executable, "-m", "tools.serve", f"--bundle={bundle}", "--name=digits", "--port=0"]
    command += ["--max_request_bytes=200000"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        yield re.search(r"http://[\d.]+:\d+", process.stdout.readline())[0]
        process.terminate()


class Browser:
    """Chromium, spoken to through two pipes: https://chromedevtools.github.io/devtools-protocol/"""

    def __init__(self, sending, receiving):
        self.sending, self.receiving = sending, receiving
        self.count = 0
        self.session = None
        self.events = []

    def do(self, method, **parameters):
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.sending.write(json.dumps(message).encode() + b"\0")
        self.sending.flush()
        while True:
            answer = self.read()
            if answer.get("id") == self.count:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def read(self):
        """The next message; an event is kept, since it may come ahead of the answer that somebody waits for."""
        content = bytearray()
        while not content.endswith(b"\0"):
            ready, _, _ = select.select([self.receiving], [], [], PATIENCE)
            assert ready, f"the browser has said nothing for {PATIENCE} seconds; the last: {self.events[-3:]}"
            part = self.receiving.read(1)
            assert part, "the browser is gone"
            content += part
        message = json.loads(content[:-1])
        if "method" in message:
            self.events.append(message)
        return message

    def happened(self, *methods):
        """What came with the events of these names, so far."""
        return [event["params"] for event in self.events if event["method"] in methods]

    @property
    def console(self):
        return self.happened("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")

    @property
    def requested(self):
        return [params["request"]["url"] for params in self.happened("Network.requestWillBeSent")]

    def open(self, address, width=900, height=900, scheme="light"):
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for part in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.do(f"{part}.enable")
        self.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.do("Page.navigate", url=address)
        self.wait_for(
            "document.readyState === 'complete' && document.querySelector('#about').textContent.startsWith('Version')"
        )

    def value(self, expression):
        done = self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait_for(self, expression):
        self.value(
            f"new Promise(done => {{ const look = () => {expression} ? done() : setTimeout(look, 20); look() }})"
        )

    def choose(self, *paths):
        root = self.do("DOM.getDocument")["root"]["nodeId"]
        node = self.do("DOM.querySelector", nodeId=root, selector="#files")["nodeId"]
        before = self.value("document.querySelectorAll('#answers > li').length")
        self.do("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])
        self.answered(before + len(paths))

    def answered(self, count):
        self.wait_for(
            f"document.querySelectorAll('#answers > li').length === {count} && !document.querySelector('.waiting')"
        )

    def answers(self):
        """[(the file's name, [(class, percentage, width of the bar)], what is wrong)], the latest first"""
        return self.value(
            """Array.from(document.querySelectorAll('#answers > li'), item => [
                item.querySelector('h2').textContent,
                Array.from(item.querySelectorAll('.classes li'), row => [
                    row.querySelector('.class').textContent, parseFloat(row.querySelector('.share').textContent),
                    row.querySelector('.bar').offsetWidth / row.querySelector('.track').offsetWidth]),
                item.querySelector('.wrong')?.textContent ?? ''])"""
        )

    def picture(self):
        content = self.do("Page.captureScreenshot", format="png")["data"]
        return PIL.Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")


@pytest.fixture
def browser(tmp_path):
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("There is no chromium on this machine. Type: apt-get install chromium")
    quiet = "--no-first-run --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars"
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", *quiet.split(), "--remote-debugging-pipe"]
    command.append(f"--user-data-dir={tmp_path / 'chromium'}")
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # Chromium reads from 3 and writes to 4.
    shell = ["bash", "-c", f'exec 3<&{theirs_in} 4>&{theirs_out}; exec "$@"', "-", *command]
    process = subprocess.Popen(shell, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL)
    os.close(theirs_in), os.close(theirs_out)
    with open(ours_out, "wb") as sending, open(ours_in, "rb", buffering=0) as receiving:
        browser = Browser(sending, receiving)
        yield browser
        with contextlib.suppress(AssertionError):
            browser.session = None
            browser.do("Browser.close")
    process.wait(60)


@pytest.fixture(scope="module")
def digits(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    paths = [folder / f"digit {i}.png" for i in range(3)]
    for path, (encoded, _) in zip(paths, data.open_source("digits", data_dir).dataset("test[:3]"), strict=True):
        path.write_bytes(encoded.numpy())
    return paths


def test_images_are_chosen_and_their_classes_shown(address, browser, digits, bundle):
    from kerascnn.serve.client import classify, open_bundle

    browser.open(address)
    assert browser.value("document.title") == "digits"
    browser.choose(digits[0])
    browser.choose(*digits[1:])
    answers = browser.answers()
    assert [name for name, *_ in answers] == [path.name for path in reversed(digits)]
    expected = dict(classify(open_bundle(bundle), [str(path) for path in digits]))
    for (_, rows, wrong), path in zip(answers, reversed(digits), strict=True):
        assert wrong == ""
        assert [name for name, *_ in rows] == [name for name, _ in expected[str(path)]]
        for (_, share, width), (_, score) in zip(rows, expected[str(path)], strict=True):
            assert share == pytest.approx(100 * score, abs=0.051) and width == pytest.approx(score, abs=0.01)
    times = browser.value("Array.from(document.querySelectorAll('.time'), time => time.textContent)")
    assert len(times) == 3
    for time in times:
        taken, server = map(float, re.fullmatch(r"([\d.]+) ms, of which the server took ([\d.]+) ms", time).groups())
        assert 0 < server <= taken + 1
    assert browser.value("document.querySelector('.picture').naturalWidth") == 8
    assert browser.console == []
    assert browser.requested and all(url.startswith((address, "blob:", "data:")) for url in browser.requested)


def test_what_goes_wrong_is_shown(address, browser, digits, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "large.bmp").write_bytes(b"BM" + bytes(200_000))
    browser.open(address)
    browser.choose(tmp_path / "text.png", digits[0], tmp_path / "large.bmp")
    large, good, text = browser.answers()
    assert "larger than 200,000 bytes" in large[2] and large[1] == []
    assert text[2] and text[1] == []
    assert len(good[1]) == 5 and good[2] == ""
    browser.do("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    browser.choose(digits[1])
    assert browser.answers()[0][2] == "The server does not answer."


def test_images_are_dropped(address, browser, digits):
    browser.open(address)
    content = base64.b64encode(digits[0].read_bytes()).decode()
    browser.value(
        f"""(() => {{
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob("{content}"), letter => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], "dropped.png", {{type: "image/png"}}));
            const drop = document.getElementById("drop");
            for (const name of ["dragenter", "dragover", "drop"])
                drop.dispatchEvent(new DragEvent(name, {{dataTransfer: transfer, bubbles: true, cancelable: true}}));
        }})()"""
    )
    browser.answered(1)
    ((name, rows, wrong),) = browser.answers()
    assert (name, len(rows), wrong) == ("dropped.png", 5, "")
    browser.value(
        "document.getElementById('drop').dispatchEvent("
        "new DragEvent('drop', {dataTransfer: new DataTransfer(), bubbles: true}))"
    )
    assert browser.value("document.getElementById('problem').textContent") == "There is no image in that."


def test_the_keyboard_is_enough(address, browser):
    browser.open(address)
    browser.do("Page.setInterceptFileChooserDialog", enabled=True)
    for kind in ("keyDown", "keyUp"):
        browser.do("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.value("document.activeElement.id") == "files"
    assert browser.value("getComputedStyle(document.getElementById('drop')).outlineStyle") == "solid"
    for kind in ("keyDown", "keyUp"):
        browser.do("Input.dispatchKeyEvent", type=kind, key=" ", code="Space", text=" ", windowsVirtualKeyCode=32)
    while not browser.happened("Page.fileChooserOpened"):
        browser.read()


@pytest.mark.parametrize(
    "scheme, paper, bar", [("light", (255, 255, 255), (36, 99, 209)), ("dark", (20, 23, 27), (116, 167, 255))]
)
def test_the_page_is_drawn_in_light_and_dark(scheme, paper, bar, address, browser, digits):
    browser.open(address, scheme=scheme)
    empty = browser.picture()
    browser.choose(*digits)
    full = browser.picture()
    for picture in (empty, full):
        colors = {color: count for count, color in picture.getcolors(1 << 24)}
        assert max(colors, key=colors.get) == paper
    assert colors.get(bar, 0) > 1000


@pytest.mark.parametrize("width", [320, 700, 1400])
def test_the_page_fits_its_window(width, address, browser, digits, tmp_path):
    long = shutil.copy(digits[0], tmp_path / f"{'long' * 40}.png")
    browser.open(address, width=width)
    browser.choose(digits[0], long)
    assert browser.value("document.documentElement.scrollWidth") == width
