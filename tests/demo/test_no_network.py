"""The page's program asks no other computer while it serves: README promises that nothing is sent away."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from gradio_client import Client, handle_file

from tests.browser.running import HOPPER, serve

# Python imports a module of this name at its start. Audit events come before what they tell of happens.
# https://docs.python.org/3.11/library/audit_events.html
GUARD = """
import pathlib
import sys

HERE = pathlib.Path(__file__).with_name("asked")

def refuse(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host or ""
    if host not in ("", "localhost", "0.0.0.0", "::", "::1") and not host.startswith("127."):
        with HERE.open("a") as file:
            print(event, host, file=file)
        raise ConnectionRefusedError(host)

sys.addaudithook(refuse)
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that names the hosts which programs started meanwhile ask for; it is there once one is."""
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "asked"


@pytest.mark.slow
def test_the_page_asks_nobody(asked: Path, tmp_path: Path) -> None:
    with serve(tmp_path / "site") as site:
        client = Client(site.address, verbose=False)
        [face] = json.loads(client.predict(handle_file(HOPPER), ["a child"], api_name="/predict"))
        assert face["age"] is not None
        client.predict([handle_file(HOPPER)], api_name="/predict_set")
    assert not asked.exists(), asked.read_text()


@pytest.mark.parametrize("host", ["192.0.2.1", "cilf.example"])
def test_the_guard_sees_who_is_asked(asked: Path, host: str) -> None:
    program = f"import socket; socket.create_connection(({host!r}, 9))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 1
    assert host in asked.read_text()
