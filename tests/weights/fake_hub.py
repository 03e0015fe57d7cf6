"""A Hugging Face hub on the loopback address: a real HTTP server with the hub's paths, and with faults to order.

    with FakeHub({"timm/net": {"config.json": b"{}", "model.safetensors": content}}) as hub:
        subprocess.run(command, env=hub.environment(tmp_path))

Tests get one from the fixture `hub` in conftest.py. As on the hub, the ETag of a large file (by its suffix) is its
SHA-256, that of a small one its hash in git; a commit's hash is a hash of all its files.
"""

import dataclasses
import hashlib
import http.server
import json
import math
import os
import re
import socket
import struct
import threading
import time
import urllib.parse

LARGE = (".safetensors", ".bin", ".pth", ".pt")


@dataclasses.dataclass
class Fault:
    """What goes wrong with a file, or with "*" (any), in the first `times` requests of the `methods`."""

    file: str
    methods: tuple[str, ...] = ("HEAD", "GET")
    times: float = math.inf
    status: int | None = None  # the answer is this status
    code: str = ""  # and this X-Error-Code
    keep: int | None = None  # so many bytes of the answer are sent, then the connection is closed
    reset: bool = False  # and that not politely
    content: bytes | None = None  # these bytes are sent, under the headers of the right ones
    size: int | None = None  # the size that is told
    drop: tuple[str, ...] = ()  # headers that are left out
    delay: float = 0  # seconds before the answer


@dataclasses.dataclass
class Request:
    method: str
    path: str
    range: str | None
    token: str | None
    sent: int = 0  # bytes of content


class FakeHub:
    """`repositories` is {"owner/name": {file: content}}. It and the other attributes may change while it runs."""

    def __init__(self, repositories=None):
        self.repositories = repositories or {}
        self.revisions = {}  # {("owner/name", revision): {file: content}}, beside "main"
        self.gated = {}  # {"owner/name": the token that opens it}
        self.listings = {}  # {"owner/name": what the API lists in place of the files}
        self.xet = False  # whether large files are offered through Xet too; its storage has none of them
        self.faults = []
        self.requests = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """From now on connections are refused."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def environment(self, home, **variables):
        """The environment of a process that takes this hub for the real one, with its cache in `home`."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        ours = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        return own | ours | variables

    def sent(self, file=""):
        """How many bytes of this file's content (of all files') went out."""
        return sum(request.sent for request in self.requests if request.path.endswith(file))

    def gets(self, file=""):
        """How often this file's content was asked for."""
        return sum(request.method == "GET" and request.path.endswith(file) for request in self.requests)

    def commit(self, repository, revision):
        """(commit's hash, files), None where there is no such revision."""
        all_files = [files for (name, _), files in self.revisions.items() if name == repository]
        by_commit = {_commit(files): files for files in [*all_files, self.repositories[repository]]}
        named = {r: files for (name, r), files in self.revisions.items() if name == repository}
        files = ({"main": self.repositories[repository]} | named | by_commit).get(revision)
        return None if files is None else (_commit(files), files)


def _commit(files):
    hashes = sorted((file, hashlib.sha1(content).hexdigest()) for file, content in files.items())
    return hashlib.sha1(repr(hashes).encode()).hexdigest()


def etag(file, content):
    if file.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        hub = self.server.hub
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.request_ = Request(self.command, path, self.headers.get("Range"), token)
        hub.requests.append(self.request_)
        if path == "/api/models":
            owner = urllib.parse.parse_qs(url.query).get("author", [""])[0]
            return self._json([{"id": name} for name in hub.repositories if name.split("/")[0] == owner])
        if path == "/xet":
            access = {"X-Xet-Cas-Url": hub.url, "X-Xet-Access-Token": "x", "X-Xet-Token-Expiration": "9999999999"}
            return self._head(200, access | {"Content-Length": "0"})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            repository, revision, file = match[1], match[2] or "main", None
        elif match := re.match(r"/([^/]+/[^/]+)/resolve/([^/]+)/", urllib.parse.urlsplit(self.path).path):
            # The revision's own slashes are quoted: "refs%2Fpr%2F1" is one part of the path.
            repository, revision = match[1], urllib.parse.unquote(match[2])
            file = urllib.parse.unquote(url.path[match.end() :])
        else:
            return self._error(404, "")
        fault = self._fault(file or "*")
        time.sleep(fault.delay)
        if fault.status:
            return self._error(fault.status, fault.code)
        if repository not in hub.repositories:
            return self._error(404 if token else 401, "RepoNotFound")  # as the hub: who may not see it learns nothing
        if hub.gated.get(repository, token) != token:
            return self._error(403 if token else 401, "GatedRepo")
        if not (found := hub.commit(repository, revision)):
            return self._error(404, "RevisionNotFound")
        commit, files = found
        if file is None:
            listing = hub.listings.get(repository, [{"rfilename": name} for name in files])
            return self._json({"id": repository, "sha": commit, "siblings": listing})
        if file not in files:
            return self._error(404, "EntryNotFound", {"X-Repo-Commit": commit})
        return self._file(file, files[file], commit, fault)

    def _fault(self, file):
        for fault in self.server.hub.faults:
            if fault.file in (file, "*") and self.command in fault.methods and fault.times > 0:
                fault.times -= 1
                return fault
        return Fault("")

    def _file(self, file, right, commit, fault):
        content = right if fault.content is None else fault.content
        size = len(content) if fault.size is None else fault.size
        status, start = 200, 0
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag(file, right)}"', "Accept-Ranges": "bytes"}
        if file.endswith(LARGE):
            headers |= {"ETag": '"cdn"', "X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(size)}
            if self.server.hub.xet:
                headers |= {"X-Xet-Hash": etag(file, right), "X-Xet-Refresh-Route": f"{self.server.hub.url}/xet"}
        if self.request_.range:
            start = int(re.fullmatch(r"bytes=(\d+)-", self.request_.range)[1])
            status, headers["Content-Range"] = 206, f"bytes {start}-{size - 1}/{size}"
            if start >= len(content):
                return self._error(416, "")
        headers["Content-Length"] = str(size - start)
        self._head(status, {name: value for name, value in headers.items() if name not in fault.drop})
        if self.command == "GET":
            self._body(content[start:] if fault.keep is None else content[start : start + fault.keep], fault.reset)

    def _body(self, content, reset=False):
        self.wfile.write(content)
        self.request_.sent += len(content)
        if reset:  # closing now does not wait for the client, but tells it that the connection is gone
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _json(self, content):
        body = json.dumps(content).encode()
        self._head(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        self._body(body)

    def _error(self, status, code, headers=None):
        self._head(status, {"X-Error-Code": code, "Content-Length": "0", **(headers or {})})

    def _head(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.send_header("Connection", "close")  # so that no thread waits for a second request
        self.end_headers()
