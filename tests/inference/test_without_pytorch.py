"""Estimates from the bundled graph import neither PyTorch nor libraries that need it, which take seconds and memory.

`open_clip` and `timm` import PyTorch themselves.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gradio_client import Client, handle_file

from tests.browser.running import HOPPER, ROOT, serve

# Found before the real one. It leaves a sign, since some importers do without.
STAND_IN = """
import pathlib

pathlib.Path(__file__).with_name("imported").touch()
raise ImportError("PyTorch is imported")
"""

PREDICT = """
import sys
from cilf import AgeEstimator

estimator = AgeEstimator.from_pretrained({weights!r})
[face] = estimator.predict(sys.argv[1], ["a child", "an old woman"] if estimator.compares_texts else None)
assert 20 < face.age < 100
assert estimator.softmax(face.similarities).keys() == face.similarities.keys()
assert not {{"torch", "open_clip", "timm"}} & sys.modules.keys()
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a PyTorch that cannot be imported."""
    (tmp_path / "torch.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def run(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@pytest.mark.slow
@pytest.mark.parametrize("weights", [None, "mtmsa"])
def test_a_photo_with_prompts(stand_in: Path, weights: str | None) -> None:
    run("-c", PREDICT.format(weights=weights), str(HOPPER))
    assert not (stand_in / "imported").exists()


@pytest.mark.slow
def test_the_command_line(stand_in: Path) -> None:
    assert run("-m", "cilf", "predict", str(HOPPER)).count("\n") == 2  # headings and a face
    assert not (stand_in / "imported").exists()


@pytest.mark.slow
def test_the_page_with_its_first_photo(stand_in: Path) -> None:
    with serve(stand_in / "site") as site:
        client = Client(site.address, verbose=False)
        [face] = json.loads(client.predict(handle_file(HOPPER), ["a child"], api_name="/predict"))
        assert face["similarities"].keys() == {"a child"}
    assert not (stand_in / "imported").exists()
