"""Downloads from a hub on the loopback address: nothing here stands in for huggingface_hub."""

import errno
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import safetensors.numpy
from huggingface_hub import constants, errors

from kerascnn.weights import hub as client

ROOT = pathlib.Path(__file__).parents[2]
NET = "timm/net.a1_in1k"
SOURCE = "timm:net.a1_in1k"
TENSORS = {"conv1.weight": np.random.default_rng(0).normal(size=(64, 3, 7, 7)).astype("float32")}
WEIGHTS = safetensors.numpy.save(TENSORS)
CONFIG = {"architecture": "resnet50", "num_classes": 1000}


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """huggingface_hub waits between its attempts for 20 seconds in all; here it makes them at once."""
    sleep, test = time.sleep, threading.current_thread()
    monkeypatch.setattr(time, "sleep", lambda seconds: None if threading.current_thread() is test else sleep(seconds))


@pytest.fixture
def net(hub):
    hub.repositories[NET] = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": WEIGHTS}
    return hub


def run(hub, home, code, **variables):
    """A process that runs `code`, in which `client` is our module, without Keras beside it; its output as text."""
    process = start(hub, home, code, **variables)
    output, complaints = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output, complaints)


def start(hub, home, code, **variables):
    load = f"import runpy, types; client = types.SimpleNamespace(**runpy.run_path({client.__file__!r}))"
    command = [sys.executable, "-c", f"{load}\n{code}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=hub.environment(home, **variables), **pipes)


def in_cache(tmp_path):
    """The names of what is in the cache, but for its locks and refs."""
    return sorted(path.name for path in (tmp_path / "home/hub").glob("models--*/[bs]*/**/*") if not path.is_dir())


@pytest.mark.parametrize(
    ("source", "parsed"),
    [
        ("timm:resnet50.a1_in1k", ("timm/resnet50.a1_in1k", None)),
        ("timm:resnet50.a1_in1k@v1.0", ("timm/resnet50.a1_in1k", "v1.0")),
        ("hf:owner/My_repo-2.0", ("owner/My_repo-2.0", None)),
        ("hf:owner/repo@refs/pr/3", ("owner/repo", "refs/pr/3")),
    ],
)
def test_sources_are_parsed(source, parsed):
    assert client.parse(source) == parsed


@pytest.mark.parametrize(
    "source",
    [
        "", "timm:", "timm:owner/name", "hf:name", "hf:a/b/c", "hf:../name", "hf:/etc/passwd", "hf:owner/name@",
        "hf:o/né", "keras:imagenet", "hf:owner/name@../../x", "hf:owner/name@/x", "timm:net@a//b",
        "hf:owner/na me", "hf:o/n\n",
    ],
)  # fmt: skip
def test_other_sources_are_refused_before_anything_is_asked(source):
    with pytest.raises(ValueError, match=r'names no repository of the hub: write "timm:resnet50\.a1_in1k" or "hf:'):
        client.parse(source)


def test_a_file_is_downloaded_once(net, tmp_path):
    path = client.weights_file(SOURCE)
    assert pathlib.Path(path).read_bytes() == WEIGHTS
    np.testing.assert_array_equal(safetensors.numpy.load_file(path)["conv1.weight"], TENSORS["conv1.weight"])
    assert client.config(SOURCE) == CONFIG
    assert len(in_cache(tmp_path)) == 4  # two blobs, and the links to them
    assert (client.weights_file(SOURCE), client.config(SOURCE)) == (path, CONFIG)
    assert (net.gets("model.safetensors"), net.gets("config.json")) == (1, 1)
    assert net.sent("model.safetensors") == len(WEIGHTS)


def test_the_environment_tells_where(net, tmp_path):
    """The variables of huggingface_hub, as a user sets them; offline with the file and without."""
    read = "print(client.weights_file('timm:net.a1_in1k'), client.config('timm:net.a1_in1k')['num_classes'])"
    first = run(net, tmp_path / "elsewhere", read)
    path, classes = first.stdout.split()
    assert (first.returncode, classes) == (0, "1000"), first.stderr
    assert path.startswith(str(tmp_path / "elsewhere/hub/models--timm--net.a1_in1k/snapshots"))
    assert pathlib.Path(path).read_bytes() == WEIGHTS
    asked = len(net.requests)
    assert run(net, tmp_path / "elsewhere", read, HF_HUB_OFFLINE="1").stdout == first.stdout
    missing = run(net, tmp_path / "empty", read, HF_HUB_OFFLINE="1")
    assert missing.returncode == 1
    assert missing.stderr.splitlines()[-1] == (
        f"FileNotFoundError: model.safetensors of timm/net.a1_in1k is not in the cache {tmp_path}/empty/hub, and "
        "HF_HUB_OFFLINE forbids to download it: unset HF_HUB_OFFLINE, or copy the cache of a machine that has the file"
    )
    assert len(net.requests) == asked


def test_a_hub_that_is_gone_leaves_the_cache(net, monkeypatch):
    path = client.weights_file(SOURCE)
    net.stop()
    assert client.weights_file(SOURCE) == path
    with pytest.raises(
        ConnectionError, match=rf"the connection to {net.url} failed while config.json of {NET} was fetched"
    ):
        client.config(SOURCE)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert client.weights_file(SOURCE) == path
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE forbids to download it"):
        client.config(SOURCE)


def test_the_only_weights_have_any_name(net, monkeypatch):
    net.repositories["o/n"] = {"config.json": b"{}", "sub/net.safetensors": WEIGHTS, "pytorch_model.bin": b"pickle"}
    path = client.weights_file("hf:o/n")
    assert path.endswith("/sub/net.safetensors")
    assert net.gets(".bin") == 0
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert client.weights_file("hf:o/n") == path


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["a.safetensors", "b.safetensors"], r"several weight files \(a.safetensors, b.safetensors\) and no model"),
        (
            ["pytorch_model.bin"],
            r"a pickle \(pytorch_model.bin\).*can run code.*python -m tools.convert_torch FILE.pth --out",
        ),
        ([f"x{i}.pth" for i in range(5)], r"a pickle \(x0.pth, x1.pth, x2.pth, \.\.\.\)"),
        (["README.md"], "o/n has no .safetensors file: take another repository"),
        ([], "o/n has no .safetensors file"),
    ],
)
def test_a_repository_without_one_weights_file_is_refused(hub, files, says):
    hub.repositories["o/n"] = dict.fromkeys(files, b"")
    with pytest.raises(ValueError, match=says):
        client.weights_file("hf:o/n")
    assert hub.gets(".bin") + hub.gets(".pth") + hub.gets(".safetensors") == 0


def test_a_pickle_is_not_even_asked_for(net):
    net.repositories[NET]["model.pth"] = b"pickle"
    with pytest.raises(ValueError, match=r"pickle \(model.pth\), which is never loaded"):
        client.download(NET, "model.pth")
    assert not net.requests


def test_revisions(net):
    older = safetensors.numpy.save({"x": np.zeros(3)})
    net.revisions |= {(NET, "v1"): {"model.safetensors": older}, (NET, "refs/pr/1"): {"model.safetensors": b"8"}}
    assert pathlib.Path(client.weights_file(f"{SOURCE}@v1")).read_bytes() == older
    assert pathlib.Path(client.weights_file(f"{SOURCE}@refs/pr/1")).read_bytes() == b"8"
    assert pathlib.Path(client.weights_file(SOURCE)).read_bytes() == WEIGHTS
    commit, _ = net.commit(NET, "v1")
    asked = len(net.requests)
    assert pathlib.Path(client.weights_file(f"{SOURCE}@{commit}")).read_bytes() == older
    assert len(net.requests) == asked  # a commit does not change
    with pytest.raises(ValueError, match=f"{NET} has no revision 'v2': see {net.url}/{NET}/commits/main"):
        client.weights_file(f"{SOURCE}@v2")
    with pytest.raises(ValueError, match=f"{NET}@v1 has no config.json: see {net.url}/{NET}/tree/v1"):
        client.config(f"{SOURCE}@v1")


def test_main_moves_on(net):
    client.weights_file(SOURCE)
    net.repositories[NET]["model.safetensors"] = newer = safetensors.numpy.save({"x": np.ones(3)})
    assert pathlib.Path(client.weights_file(SOURCE)).read_bytes() == newer


@pytest.mark.parametrize("token", [None, "hf_mine"])  # the hub's answer is 401 without a token, 404 with one
def test_a_missing_repository_offers_close_names(net, monkeypatch, token):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    net.repositories |= {f"timm/other{i}": {} for i in range(3)}
    says = rf"{net.url} has no repository timm/net.a1_in1, or it is .*; of timm's, did you mean {NET}\?"
    with pytest.raises(ValueError, match=says) as told:
        client.weights_file("timm:net.a1_in1")
    assert isinstance(told.value.__cause__, errors.RepositoryNotFoundError)
    with pytest.raises(
        ValueError, match=r"has no repository o/n, or it is private and HF_TOKEN holds no token that may read it$"
    ):
        client.config("hf:o/n")


def test_a_gated_repository_opens_with_a_token(net, monkeypatch):
    net.gated[NET] = "hf_secret"
    for token in (None, "hf_wrong"):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(
            PermissionError, match=f"{NET} is gated: ask for access at {net.url}/{NET}, and set HF_TOKEN"
        ):
            client.weights_file(SOURCE)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert pathlib.Path(client.weights_file(SOURCE)).read_bytes() == WEIGHTS


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (
            401,
            PermissionError,
            "wants a token, or does not accept the one in HF_TOKEN: make one at {url}/settings/tokens",
        ),
        (403, PermissionError, "forbids it: give HF_TOKEN a token that may read it"),
        (429, ConnectionError, "takes no more requests for now: wait some minutes, or set HF_TOKEN"),
        (418, ConnectionError, "does not accept the request"),
        (500, ConnectionError, "has a fault of its own: try again later"),
        (503, ConnectionError, "has a fault of its own: try again later"),
    ],
)
def test_what_a_status_means(net, fake_hub, tmp_path, method, status, kind, says):
    net.faults.append(fake_hub.Fault("model.safetensors", (method,), status=status))
    says = rf"{net.url} {says.format(url=net.url)}.* \(HTTP {status} for model.safetensors of {NET}\)"
    with pytest.raises(kind, match=says) as told:
        client.weights_file(SOURCE)
    assert "\n" not in str(told.value)
    net.faults.clear()
    assert pathlib.Path(client.weights_file(SOURCE)).read_bytes() == WEIGHTS


def test_a_short_illness_of_the_hub_is_waited_for(net, fake_hub):
    net.faults.append(fake_hub.Fault("*", status=503, times=3))
    assert pathlib.Path(client.weights_file(SOURCE)).read_bytes() == WEIGHTS


def test_a_dropped_connection_is_resumed(net, fake_hub):
    content = net.repositories[NET]["model.safetensors"] = bytes(14_000_000)
    net.faults.append(fake_hub.Fault("model.safetensors", ("GET",), times=1, keep=11_000_000))
    assert pathlib.Path(client.weights_file(SOURCE)).read_bytes() == content
    gets = [request for request in net.requests if request.method == "GET"]
    assert [request.range for request in gets] == [None, "bytes=10485760-"]  # all but a chunk that was not full
    assert net.sent() < len(content) + 1_000_000


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (
            {"keep": 1000},
            rf"the connection to .* failed while model.safetensors of {NET} was fetched: check the network",
        ),
        ({"keep": 1000, "reset": True}, rf"the connection to .* failed while model.safetensors of {NET} was fetched"),
        (
            {"size": len(WEIGHTS) + 5, "methods": ("HEAD",)},
            f"model.safetensors of {NET} did not arrive whole: try again",
        ),
        ({"size": len(WEIGHTS) + 5}, "the connection to .* failed|sent less than it promised: try again"),
        (
            {"drop": ("X-Repo-Commit",)},
            "does not answer as the Hugging Face hub does: check HF_ENDPOINT, and whether a proxy",
        ),
    ],
)
def test_a_broken_download_leaves_nothing(net, fake_hub, tmp_path, fault, says):
    net.faults.append(fake_hub.Fault("model.safetensors", **fault))
    with pytest.raises(ConnectionError, match=says) as told:
        client.weights_file(SOURCE)
    assert "\n" not in str(told.value)
    assert not in_cache(tmp_path)
    net.faults.clear()
    assert pathlib.Path(client.weights_file(SOURCE)).read_bytes() == WEIGHTS


def test_a_hub_that_says_nothing_is_given_up(net, fake_hub, tmp_path, monkeypatch):
    net.faults.append(fake_hub.Fault("model.safetensors", ("GET",), delay=1.5, times=1))
    limit = {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1"}
    done = run(net, tmp_path / "slow", f"print(client.weights_file({SOURCE!r}))", **limit)
    assert "Trying to resume download" in done.stderr
    assert pathlib.Path(done.stdout.strip()).read_bytes() == WEIGHTS


def test_other_content_than_the_hash_is_deleted(net, fake_hub, tmp_path):
    other = bytes([*WEIGHTS[:-1], WEIGHTS[-1] ^ 1])
    net.faults.append(fake_hub.Fault("model.safetensors", content=other, times=2))  # of the HEAD and the GET
    says = f"model.safetensors of {NET} is damaged: its SHA-256 is .*, the hub states .*; it was deleted, try again"
    with pytest.raises(ValueError, match=says):
        client.weights_file(SOURCE)
    assert not in_cache(tmp_path)
    assert pathlib.Path(client.weights_file(SOURCE)).read_bytes() == WEIGHTS


def test_a_file_that_rots_in_the_cache_is_found(net, tmp_path):
    path = pathlib.Path(client.weights_file(SOURCE))
    blob = path.resolve()
    content = bytearray(WEIGHTS)
    content[-100] ^= 4
    # As huggingface_hub keeps what several repositories have: the blob is a link too.
    shared = tmp_path / "shared"
    shared.write_bytes(content)
    blob.unlink()
    blob.symlink_to(shared)
    with pytest.raises(ValueError, match="is damaged"):
        client.weights_file(SOURCE)
    assert not shared.exists()
    assert pathlib.Path(client.weights_file(SOURCE)).read_bytes() == WEIGHTS


def test_a_cache_without_links(net, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    for _ in range(2):
        assert pathlib.Path(client.weights_file(SOURCE)).read_bytes() == WEIGHTS
    assert net.gets() == 1


def test_who_downloads_nothing_needs_no_huggingface_hub(net, tmp_path):
    done = run(net, tmp_path, "import sys; print(client.parse('timm:a')[0], 'huggingface_hub' in sys.modules)")
    assert done.stdout == "timm/a False\n"


@pytest.mark.parametrize(
    "name", ["../../x.safetensors", "/tmp/x.safetensors", "a/../../x.safetensors", "..\\x.safetensors"]
)
def test_a_hostile_name_goes_nowhere(net, tmp_path, name):
    net.repositories["o/n"] = {name: WEIGHTS}
    with pytest.raises(ValueError, match="Invalid filename"):
        client.weights_file("hf:o/n")
    assert net.gets(".safetensors") == 0
    assert not [path for path in tmp_path.rglob("*x.safetensors")]


@pytest.mark.parametrize("listing", [3, "ab", [{"other": 1}], [{"rfilename": {}}], [None]])
def test_a_wrong_listing_is_told(net, listing):
    net.repositories["o/n"] = {"x.safetensors": WEIGHTS}
    net.listings["o/n"] = listing
    with pytest.raises(ValueError, match=f"{net.url} does not list the files of o/n as the hub does"):
        client.weights_file("hf:o/n")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not JSON"),
        (b'{"architecture": ', "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1]", "is a list, not an object with fields"),
        (b"null", "is a NoneType, not an object"),
    ],
)
def test_a_broken_config_is_told(net, content, says):
    net.repositories[NET]["config.json"] = content
    with pytest.raises(ValueError, match=f"config.json of {NET} {says}"):
        client.config(SOURCE)


def test_two_processes_download_a_file_once(net, fake_hub, tmp_path):
    content = net.repositories[NET]["model.safetensors"] = np.random.default_rng(0).bytes(12_000_000)
    net.faults.append(fake_hub.Fault("model.safetensors", ("GET",), delay=1))  # the second comes while the first waits
    code = f"print(client.weights_file({SOURCE!r}), end='')"
    pair = [start(net, tmp_path / "both", code) for _ in range(2)]
    paths = {process.communicate()[0] for process in pair}
    assert [process.returncode for process in pair] == [0, 0]
    assert len(paths) == 1
    assert pathlib.Path(paths.pop()).read_bytes() == content
    assert net.gets("model.safetensors") == 1


def test_a_full_disk_is_told(net, tmp_path):
    net.repositories[NET]["model.safetensors"] = bytes(3_000_000)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))"  # as a full disk does
    done = run(net, tmp_path / "small", f"{limit}\nclient.weights_file({SOURCE!r})")
    assert done.stderr.splitlines()[-1] == (
        f"OSError: [Errno {errno.EFBIG}] model.safetensors of {NET} cannot be written to the cache {tmp_path}/small/"
        f"hub: make room there, or set HF_HOME to a folder on another disk ({os.strerror(errno.EFBIG)})"
    )
    assert not list((tmp_path / "small").rglob("*.incomplete"))


def test_xet_has_errors_of_its_own(net, tmp_path):
    net.xet = True
    code = f"print(client.weights_file({SOURCE!r}))"
    told = run(net, tmp_path / "xet", code).stderr.splitlines()[-1]
    assert told.startswith(
        f"ConnectionError: Xet, through which {net.url} sends model.safetensors of {NET}, failed: try"
    )
    assert "set HF_HUB_DISABLE_XET=1" in told
    done = run(net, tmp_path / "xet", code, HF_HUB_DISABLE_XET="1")
    assert pathlib.Path(done.stdout.strip()).read_bytes() == WEIGHTS


def test_a_cache_that_cannot_be_is_told(net, tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(
        OSError, match=f"cannot be written to the cache {tmp_path}/home/hub: make room there, or set HF_HOME"
    ):
        client.weights_file(SOURCE)
