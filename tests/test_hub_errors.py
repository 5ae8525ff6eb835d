"""What a user reads when weights cannot be had from the Hub: one sentence, exit code 2, no stack trace.

There is no network in tests, so a small server on loopback answers in the Hub's place, with the status and headers
that the Hub sends.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


@contextmanager
def hub(status: int, code: str) -> Iterator[str]:
    """A Hub that answers every request alike; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815, the name that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def predict(endpoint: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    # The endpoint is read when huggingface_hub is imported, hence a process of its own.
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, "-m", "cilf", "predict", "x.jpg", "--weights", "somebody/something", *options]
    root = Path(__file__).parents[1]
    return subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "RepoNotFound", "neither a folder nor a repository"),
        (404, "RepoNotFound", "neither a folder nor a repository"),
        (404, "RevisionNotFound", "has no revision 'v9'"),
        (403, "GatedRepo", "asks for permission"),
    ],
)
def test_what_the_hub_refuses(status: int, code: str, said: str, tmp_path: Path) -> None:
    with hub(status, code) as endpoint:
        done = predict(endpoint, tmp_path, "--revision", "v9")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_nobody_answers(tmp_path: Path) -> None:
    done = predict("http://127.0.0.1:9", tmp_path)  # the discard port: nothing listens there
    assert done.returncode == 2
    assert "cannot be reached" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
