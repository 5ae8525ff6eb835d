"""Publishing to a Space, against a stand-in for the Hub; and what the Space reads of the repository."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub import TOKEN, hub
from train.publish import PARTS, ROOT, PublishError, files


def publish(address: str, home: Path, token: str | None = TOKEN) -> subprocess.CompletedProcess[str]:
    # The Hub's address and the token are read when huggingface_hub is imported, hence a process of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | {
        "HF_ENDPOINT": address,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",  # the newer transfer speaks with servers of its own
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    if token:
        environment["HF_TOKEN"] = token
    command = [sys.executable, "-m", "train", "publish", "--space", "user/name"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_space_gets_what_it_needs_and_loses_what_it_no_longer_has(tmp_path: Path) -> None:
    with hub() as there:
        there.files["old.py"] = b"print('gone')"
        done = publish(there.address, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "user/name" in done.stdout
        assert there.settings["type"] == "space"
        assert there.settings["sdk"] == "gradio"
        assert set(there.files) == set(files())
        for name in ("app.py", "README.md", "checkpoints/compact/model.safetensors"):
            assert there.files[name] == (ROOT / name).read_bytes(), name
        assert there.large, "the weights are binary and go to the storage for large files"


def test_nobody_logged_in_is_said_in_one_sentence(tmp_path: Path) -> None:
    with hub() as there:
        done = publish(there.address, tmp_path, token=None)
    assert done.returncode == 2
    assert "hf auth login" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_token_is_said_in_one_sentence(tmp_path: Path) -> None:
    with hub() as there:
        done = publish(there.address, tmp_path, token="hf_of_somebody_else")
    assert done.returncode == 2
    assert "401" in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_answers(tmp_path: Path) -> None:
    done = publish("http://127.0.0.1:9", tmp_path)  # the discard port: nothing listens there
    assert done.returncode == 2
    assert "check the network" in done.stderr
    assert "Traceback" not in done.stderr


def test_only_what_git_controls_is_uploaded(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    for name in ("app.py", "cilf/a.py", "cilf/secret.txt", "tests/test_a.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("README.md", "LICENSE", "packages.txt", "requirements.txt"):
        (tmp_path / name).touch()
    tracked = ["app.py", "cilf/a.py", "tests/test_a.py", "README.md"]
    subprocess.run(["git", "add", *tracked], cwd=tmp_path, check=True)
    assert set(files(tmp_path)) == {"app.py", "cilf/a.py", "README.md"}
    with pytest.raises(PublishError, match="checkout"):
        files(tmp_path / "tests")


def test_every_part_is_there() -> None:
    found = files()
    for part in PARTS:
        assert any(name == part or name.startswith(f"{part}/") for name in found), part


def test_the_spaces_front_matter_fits_the_pins() -> None:
    front = (ROOT / "README.md").read_text(encoding="utf-8").split("---")[1]
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    version = re.search(r"^sdk_version: (\S+)$", front, re.MULTILINE)
    pin = re.search(r"^gradio==(\S+)$", pins, re.MULTILINE)
    assert version is not None
    assert pin is not None
    assert version[1] == pin[1]
    assert re.search(r'^python_version: "?3\.\d+"?$', front, re.MULTILINE)
