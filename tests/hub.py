"""A stand-in for the Hugging Face Hub on loopback, since tests have no network: it keeps one Space and speaks as much
of the Hub's protocol as creating the Space and uploading to it takes, with large files through Git LFS."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_for_tests"
COMMIT = "0" * 40


@dataclass
class Hub:
    """What the Hub holds: `files` of the Space by path, `settings` that it was created with, `large` by SHA-256."""

    address: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)


@contextmanager
def hub() -> Iterator[Hub]:
    """Run it until the block ends."""
    held = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(held, "GET")

        def do_POST(self) -> None:
            self._answer(held, "POST")

        def do_PUT(self) -> None:
            self._answer(held, "PUT")

        def _answer(self, held: Hub, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            if method != "PUT" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._send(401, {"error": "Invalid credentials in Authorization header"})
            else:
                self._send(*_reply(held, method, path, body))

        def _send(self, status: int, answer: Any) -> None:
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()


def _reply(held: Hub, method: str, path: str, body: bytes) -> tuple[int, Any]:
    """Status and JSON of one answer."""
    if path == "/api/repos/create":
        held.settings = json.loads(body)
        return 200, {"url": f"{held.address}/spaces/user/name", "name": "user/name", "id": "0"}
    if path == "/api/validate-yaml":
        return 200, {"errors": [], "warnings": []}
    if path.endswith("/preupload/main"):
        return 200, {"files": [_mode(held, file) for file in json.loads(body)["files"]]}
    if path.endswith("/info/lfs/objects/batch"):
        return 200, {
            "transfer": "basic",
            "objects": [_slot(held, each) for each in json.loads(body)["objects"]],
        }
    if method == "PUT":
        assert path.endswith(hashlib.sha256(body).hexdigest())
        held.large[path.rpartition("/")[2]] = body
        return 200, {}
    if path.endswith("/verify"):
        return 200, {}
    if path.endswith("/commit/main"):
        _commit(held, [json.loads(line) for line in body.splitlines()])
        return 200, {
            "commitUrl": f"{held.address}/spaces/user/name/commit/{COMMIT}",
            "commitOid": COMMIT,
            "success": True,
        }
    if "/tree/main" in path:
        return 200, [{"type": "file", "path": name, "size": 0, "oid": "0"} for name in held.files]
    if path.startswith("/api/spaces/"):
        names = [{"rfilename": name} for name in held.files]
        return 200, {"id": "user/name", "sha": COMMIT, "siblings": names, "private": False, "tags": []}
    return 404, {"error": f"the stand-in has no {method} {path}"}


def _mode(held: Hub, file: dict[str, Any]) -> dict[str, Any]:
    """Binaries go to the storage for large files, as on the Hub; so it says of each file whether it is one."""
    binary = b"\0" in base64.b64decode(file["sample"])
    return {"path": file["path"], "uploadMode": "lfs" if binary else "regular", "shouldIgnore": False}


def _slot(held: Hub, wanted: dict[str, Any]) -> dict[str, Any]:
    return wanted | {"actions": {"upload": {"href": f"{held.address}/large/{wanted['oid']}"}}}


def _commit(held: Hub, lines: list[dict[str, Any]]) -> None:
    for line in lines:
        key, value = line["key"], line["value"]
        if key == "file":
            held.files[value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            held.files[value["path"]] = held.large[value["oid"]]
        elif key == "deletedFile":
            held.files.pop(value["path"])
