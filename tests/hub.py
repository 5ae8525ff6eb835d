"""A stand-in for the Hugging Face Hub on loopback, since tests have no network.

It speaks as much of the Hub's protocol as the client uses to make repositories, to upload to them (large files through
Git LFS), to tag them and to download from them (large files from a second host, as from the Hub's CDN), and it can be
told to fail.
"""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

TOKEN, READER = "hf_of_a_writer", "hf_of_a_reader"
ALWAYS = 10**9

Files = dict[str, bytes]


@dataclass
class Repository:
    """Commits, oldest first, with their files by path; `settings` are those it was created with."""

    settings: dict[str, Any] = field(default_factory=dict)
    commits: dict[str, Files] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> Files:
        """Those of the newest commit."""
        return self.commits[self.head]

    def commit(self, files: Files) -> str:
        """Add a commit with these files, and give its name."""
        name = hashlib.sha1(f"{id(self)} {len(self.commits)}".encode()).hexdigest()
        self.commits[name] = files
        return name

    def find(self, revision: str) -> str | None:
        """The commit that a branch, tag or commit names."""
        revision = {"main": self.head, **self.tags}.get(revision, revision)
        return revision if revision in self.commits else None


@dataclass
class Fault:
    """What befalls the next `times` requests whose method and path match the pattern `where`."""

    where: str
    times: int = ALWAYS
    status: int = 0  # the answer, with `code` as the Hub's own name for the error
    code: str = ""
    cut: int = 0  # bytes after which the connection ends,
    reset: bool = False  # by a reset instead of a regular end
    altered: bool = False  # one bit of the body is another


@dataclass
class Hub:
    """What the Hub holds and what it was asked: `repositories` as "models/user/name", `large` files by SHA-256."""

    address: str = ""
    elsewhere: str = ""  # the same server under another name: the host that large files come from
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: Files = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def downloads(self) -> list[str]:
        """The requests so far for the content of files."""
        return [line for line in self.asked if re.match(r"GET (/large/|.*/resolve/)", line)]

    def add(self, name: str, folder: Path, **changed: bytes) -> str:
        """Commit the files of a folder to the model repository `name`, and give the commit."""
        files = {path.name: path.read_bytes() for path in folder.iterdir()} | changed
        self.large |= {
            hashlib.sha256(content).hexdigest(): content for content in files.values() if _binary(content)
        }
        return self.repositories.setdefault(f"models/{name}", Repository()).commit(files)


def reach(held: Hub, patch: pytest.MonkeyPatch, home: Path) -> None:
    """Let this process' client talk to the stand-in, with its cache in `home` and nobody logged in.

    The client reads HF_ENDPOINT and its like when it is imported, so what it has read is replaced.
    """
    for name, value in {
        "ENDPOINT": held.address,
        "HUGGINGFACE_CO_URL_TEMPLATE": held.address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_DISABLE_XET": True,  # the newer transfer speaks with servers of its own
        "HF_HUB_OFFLINE": False,
        "DOWNLOAD_CHUNK_SIZE": 64 * 1024,  # what a broken transfer can be resumed by
    }.items():
        patch.setattr(f"huggingface_hub.constants.{name}", value)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        patch.delenv(name, raising=False)


@contextmanager
def hub() -> Iterator[Hub]:
    """Run it until the block ends."""
    held = Hub()

    class Handler(_Handler):
        hub = held

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    held.address = f"http://127.0.0.1:{server.server_port}"
    held.elsewhere = f"http://localhost:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class _Answer:
    status: int = 200
    body: bytes | dict[str, Any] | list[Any] = b""
    headers: dict[str, str] = field(default_factory=dict)


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", said: str = "") -> None:
        self.status, self.code, self.said = status, code, said


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(self.path.partition("?")[0])
        line = f"{self.command} {path}"
        self.hub.asked.append(f"{line} {self.headers['Range']}" if "Range" in self.headers else line)
        fault = next((each for each in self.hub.faults if each.times and re.search(each.where, line)), None)
        if fault is not None:
            fault.times -= 1
        try:
            if fault is not None and fault.status:
                raise _Refused(fault.status, fault.code)
            answer = self._reply(path, body)
        except _Refused as refused:
            headers = {"X-Error-Code": refused.code} if refused.code else {}
            if refused.said:
                headers["X-Error-Message"] = refused.said
            answer = _Answer(refused.status, {"error": refused.said or "refused"}, headers)
        self._send(answer, fault)

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815, the names that http.server calls

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, answer: _Answer, fault: Fault | None) -> None:
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        if fault is not None and fault.altered:
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_response(answer.status)
        for name, value in ({"Content-Length": str(len(body))} | answer.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is None or not fault.cut:
            self.wfile.write(body)
            return
        self.wfile.write(body[: fault.cut])
        self.wfile.flush()
        if fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _reply(self, path: str, body: bytes) -> _Answer:
        if path.startswith("/large/"):
            return self._large(path.rpartition("/")[2], body)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in ("", TOKEN, READER):
            raise _Refused(401, said="Invalid credentials in Authorization header")
        if self.command == "POST" and token != TOKEN:
            raise _Refused(403 if token else 401, said="You don't have the rights to do this")
        if path == "/api/validate-yaml":
            return _Answer(body={"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        found = re.fullmatch(r"(?:/api)?/(?:(models|spaces)/)?([\w.-]+/[\w.-]+?)(?:\.git)?(?:/(.*))?", path)
        assert found is not None, path
        key = f"{found[1] or 'models'}/{found[2]}"
        if key not in self.hub.repositories:
            raise _Refused(404 if token else 401, "RepoNotFound")
        held, rest = self.hub.repositories[key], found[3] or ""
        if self.command in ("GET", "HEAD"):
            return self._read(key, held, rest, token)
        return self._write(key, held, rest, body)

    def _create(self, settings: dict[str, Any]) -> _Answer:
        name = f"{settings['organization']}/{settings['name']}"
        kind = settings.get("type", "model") + "s"
        prefix = "" if kind == "models" else f"{kind}/"
        made = {"url": f"{self.hub.address}/{prefix}{name}", "name": name, "id": "0"}
        if f"{kind}/{name}" in self.hub.repositories:
            return _Answer(409, made | {"error": "You already created this repo"})
        self.hub.repositories[f"{kind}/{name}"] = held = Repository(settings)
        held.commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
        return _Answer(body=made)

    def _read(self, key: str, held: Repository, rest: str, token: str) -> _Answer:
        if rest == "refs":
            named = {"branches": {"main": held.head}, "tags": held.tags, "converts": {}}
            return _Answer(body={kind: _references(commits) for kind, commits in named.items()})
        what, _, rest = rest.partition("/")
        revision, _, name = rest.partition("/")
        commit = held.find(revision or "main")
        if commit is None:
            raise _Refused(404, "RevisionNotFound")
        if what == "tree":
            return _Answer(body=[_entry(path, content) for path, content in held.commits[commit].items()])
        if what == "resolve":
            if held.gated:
                raise _Refused(403 if token else 401, "GatedRepo")
            return self._resolve(held.commits[commit], commit, name)
        names = [{"rfilename": path} for path in held.commits[commit]]
        about = {"id": key.partition("/")[2], "sha": commit, "siblings": names, "private": False, "tags": []}
        return _Answer(body=about)

    def _resolve(self, files: Files, commit: str, name: str) -> _Answer:
        if name not in files:
            raise _Refused(404, "EntryNotFound")
        content, headers = files[name], {"X-Repo-Commit": commit}
        if not _binary(content):
            return _Answer(body=content, headers=headers | {"ETag": f'"{_git(content)}"'})
        sha256 = hashlib.sha256(content).hexdigest()
        headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(content))}
        return _Answer(302, headers=headers | {"Location": f"{self.hub.elsewhere}/large/{sha256}"})

    def _large(self, sha256: str, body: bytes) -> _Answer:
        if "Authorization" in self.headers:  # an address is signed; a token does not belong there
            raise _Refused(400)
        if self.command == "PUT":
            assert hashlib.sha256(body).hexdigest() == sha256
            self.hub.large[sha256] = body
            return _Answer()
        content = self.hub.large[sha256]
        first = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if first is None:
            return _Answer(body=content)
        start, size = int(first[1]), len(content)
        return _Answer(206, content[start:], {"Content-Range": f"bytes {start}-{size - 1}/{size}"})

    def _write(self, key: str, held: Repository, rest: str, body: bytes) -> _Answer:
        if rest == "preupload/main":
            return _Answer(body={"files": [_mode(held, file) for file in json.loads(body)["files"]]})
        if rest == "info/lfs/objects/batch":
            wanted = json.loads(body)["objects"]
            return _Answer(body={"transfer": "basic", "objects": [self._slot(key, each) for each in wanted]})
        if rest == "lfs/verify":
            said = json.loads(body)
            if len(self.hub.large.get(said["oid"], b"")) != said["size"]:
                raise _Refused(404)
            return _Answer()
        if rest == "commit/main":
            name = held.commit(self._changed(held.files, [json.loads(line) for line in body.splitlines()]))
            url = f"{self.hub.address}/{key.removeprefix('models/')}/commit/{name}"
            return _Answer(body={"commitUrl": url, "commitOid": name, "success": True})
        if rest.startswith("tag/"):
            commit, tag = held.find(rest.removeprefix("tag/")), json.loads(body)["tag"]
            assert commit is not None
            if tag in held.tags:
                raise _Refused(409)
            held.tags[tag] = commit
            return _Answer()
        raise AssertionError(f"the stand-in has no {self.command} {rest}")

    def _slot(self, key: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """Where to put a large file; nowhere, when it is there already."""
        if wanted["oid"] in self.hub.large:
            return wanted
        name = key.removeprefix("models/")
        return wanted | {
            "actions": {
                "upload": {"href": f"{self.hub.elsewhere}/large/{wanted['oid']}"},
                "verify": {"href": f"{self.hub.address}/{name}.git/lfs/verify"},
            }
        }

    def _changed(self, files: Files, lines: list[dict[str, Any]]) -> Files:
        files = dict(files)
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif key == "deletedFile":
                files.pop(value["path"])
        return files


def _binary(content: bytes) -> bool:
    """Binaries go to the storage for large files, as on the Hub."""
    return b"\0" in content[:512]


def _git(content: bytes) -> str:
    """A file's name in git."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(path: str, content: bytes) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "size": len(content), "oid": _git(content)}
    if _binary(content):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


def _references(commits: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "ref": f"refs/{name}", "targetCommit": commit} for name, commit in commits.items()]


def _mode(held: Repository, file: dict[str, Any]) -> dict[str, Any]:
    mode = {"path": file["path"], "shouldIgnore": False}
    content = held.files.get(file["path"])
    if content is not None:
        mode["oid"] = hashlib.sha256(content).hexdigest() if _binary(content) else _git(content)
    return mode | {"uploadMode": "lfs" if _binary(base64.b64decode(file["sample"])) else "regular"}
