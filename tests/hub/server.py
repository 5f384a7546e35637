"""A hub on the loopback interface: as much of the protocol as fetching and uploading models takes.

Small files are answered directly, those of ``LARGE`` endings by a redirect to another host name, as the hub sends them
to its storage: there is no token for that one. What it does wrong on purpose is set in ``Faults``.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".h5", ".model")
GOOD_TOKEN = "hf_good"


@dataclass
class Repository:
    """Files by name at each commit, and what branches and tags point to."""

    commits: dict[str, dict[str, bytes]]
    refs: dict[str, str]
    private: bool = False
    gated: bool = False


@dataclass
class Faults:
    """What goes wrong, how many times.

    Attributes:
        busy: answers with 429 before any other.
        failing: answers with 500.
        cut: name of a file -> transfers that stop in the middle.
    """

    busy: int = 0
    failing: int = 0
    cut: dict[str, int] = field(default_factory=dict)


class Hub:
    """The server's state, and what it was asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.faults = Faults()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add(self, name: str, folder: Path, inside: str = "", **settings: Any) -> str:
        """Publish a folder as a new commit of the main branch, and return the commit."""
        files = {inside + p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        return self.commit(name, files, **settings)

    def commit(self, name: str, files: dict[str, bytes], ref: str = "main", **settings: Any) -> str:
        repository = self.repositories.setdefault(name, Repository({}, {}))
        for key, value in settings.items():
            setattr(repository, key, value)
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        repository.commits[commit] = files
        repository.refs[ref] = commit
        return commit

    def asked(self, method: str, part: str) -> list[dict[str, str]]:
        """Headers of the requests of a method whose path has ``part``."""
        return [headers for verb, path, headers in self.requests if verb == method and part in path]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_POST(self) -> None:
        path, data = self.start()
        if path == "/api/validate-yaml":
            return self.send(200, {"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {GOOD_TOKEN}":
            return self.send(401, {"error": "Invalid username or password."})
        if path == "/api/repos/create":
            asked = json.loads(data)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if name in self.hub.repositories:
                return self.send(409, {"url": f"{self.hub.endpoint}/{name}", "error": "You already created this"})
            self.hub.commit(name, {}, private=bool(asked.get("private") or asked.get("visibility") == "private"))
            return self.send(200, {"url": f"{self.hub.endpoint}/{name}", "name": name, "id": name})
        name, verb, rest = self.split(path)
        repository = self.hub.repositories[name]
        if verb == "branch":
            repository.refs[rest] = repository.refs["main"]
            return self.send(200, {})
        if verb == "preupload":
            names = [file["path"] for file in json.loads(data)["files"]]
            files = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            return self.send(200, {"files": files})
        assert verb == "commit", path
        lines = [json.loads(line) for line in data.splitlines()]
        new = {row["value"]["path"]: base64.b64decode(row["value"]["content"]) for row in lines if row["key"] == "file"}
        commit = self.hub.commit(name, {**repository.commits[repository.refs[rest]], **new}, ref=rest)
        answer = {"commitUrl": f"{self.hub.endpoint}/{name}/commit/{commit}", "commitOid": commit, "success": True}
        return self.send(200, answer)

    def start(self) -> tuple[str, bytes]:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, {k.lower(): v for k, v in self.headers.items()}))
        return path, self.rfile.read(int(self.headers.get("Content-Length") or 0))

    @staticmethod
    def split(path: str) -> tuple[str, str, str]:
        """Name, verb and rest of ``/api/models/OWNER/NAME[/VERB/REST]``."""
        _, _, _, owner, name, *rest = path.split("/")
        return f"{owner}/{name}", rest[0] if rest else "", "/".join(rest[1:])

    def answer(self, *, body: bool) -> None:
        path, _ = self.start()
        faults = self.hub.faults
        if faults.busy > 0:
            faults.busy -= 1
            return self.send(429, {"error": "rate limited"}, {"Retry-After": "0"})
        if faults.failing > 0:
            faults.failing -= 1
            return self.send(500, {"error": "broken"}, {"Retry-After": "0"})
        if path.startswith("/storage/"):
            _, _, etag, name = path.split("/")
            return self.send_file(self.content_of(etag), name, body=body)
        if path.startswith("/api/"):
            return self.describe(path)
        owner, name, _, revision, file = path.lstrip("/").split("/", 4)
        return self.resolve(f"{owner}/{name}", revision, file, body=body)

    def content_of(self, etag: str) -> bytes:
        files = [c for r in self.hub.repositories.values() for files in r.commits.values() for c in files.values()]
        return next(content for content in files if hashlib.sha256(content).hexdigest() == etag)

    def admitted(self, name: str) -> Repository | None:
        """The repository, unless an error was sent."""
        repository = self.hub.repositories.get(name)
        token = self.headers.get("Authorization")
        if token not in (None, f"Bearer {GOOD_TOKEN}"):
            self.send(401, {"error": "Invalid credentials in Authorization header"})
        elif repository is None or (repository.private and token is None):
            code = 401 if token is None else 404
            self.send(code, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif repository.gated and token is None:
            self.send(401, {"error": "Access to this model is restricted."}, {"X-Error-Code": "GatedRepo"})
        else:
            return repository
        return None

    def describe(self, path: str) -> None:
        name, _, revision = self.split(path)
        repository = self.admitted(name)
        if repository is None:
            return
        commit = repository.refs.get(revision or "main", revision)
        if commit not in repository.commits:
            return self.send(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        names = [{"rfilename": file} for file in sorted(repository.commits[commit])]
        self.send(200, {"id": name, "modelId": name, "sha": commit, "siblings": names, "private": False, "tags": []})

    def resolve(self, name: str, revision: str, file: str, *, body: bool) -> None:
        repository = self.admitted(name)
        if repository is None:
            return
        commit = repository.refs.get(revision, revision)
        if commit not in repository.commits:
            return self.send(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        content = repository.commits[commit].get(file)
        if content is None:
            return self.send(404, {"error": "no file"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        etag = hashlib.sha256(content).hexdigest()
        if not file.endswith(LARGE):
            return self.send_file(content, file, body=body, headers={"X-Repo-Commit": commit})
        self.send(302, {}, {
            "Location": f"http://localhost:{self.hub.port}/storage/{etag}/{Path(file).name}", "X-Repo-Commit": commit,
            "X-Linked-ETag": f'"{etag}"', "X-Linked-Size": str(len(content)),
        })  # fmt: skip

    def send_file(self, content: bytes, name: str, *, body: bool, headers: dict[str, str] | None = None) -> None:
        etag = hashlib.sha256(content).hexdigest()
        start = 0
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes="):
            start = int(asked.removeprefix("bytes=").split("-")[0])
        part = content[start:]
        self.send_response(206 if start else 200)
        fixed = {"ETag": f'"{etag}"', "Content-Length": str(len(part)), "Accept-Ranges": "bytes"}
        fixed |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        for key, value in {**fixed, **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if not body:
            return
        if self.hub.faults.cut.get(name, 0) > 0:
            self.hub.faults.cut[name] -= 1
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
            return
        self.wfile.write(part)

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        fixed = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        for key, value in {**fixed, **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing: tests look at ``Hub.requests``."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Connections that were cut on purpose are no news."""


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """A hub that answers until the block ends."""
    hub = Hub()
    server = _Server(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": hub}))
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
