"""`cilf.untrusted.trial`: what the package does not know is tried elsewhere first; what it knows pays nothing."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from cilf import AgeEstimator
from cilf.checkpoint import CONFIG, GRAPH, add_graph, bundled, is_bundled, load, read_config
from cilf.errors import WeightsError
from cilf.inference.onnx_runtime import Graph
from cilf.untrusted import trial, trial_child
from cilf.untrusted.trial import require_success
from cilf.untrusted.trial_child import compare
from tests import tiny


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The smaller one of the bundled checkpoints."""
    return Path(shutil.copytree(bundled("mtmsa"), tmp_path / "copy"))


def no_child(*_: Any, **__: Any) -> None:
    raise AssertionError("a child process is started")


def with_operator(folder: Path, before: str, after: str) -> None:
    """Replace an operator of the graph and put the hashes right, as somebody who means harm would."""
    model = onnx.load_model_from_string((folder / GRAPH).read_bytes())
    for node in model.graph.node:
        node.op_type = after if node.op_type == before else node.op_type
    config = read_config(folder).graph
    assert config is not None
    add_graph(folder, Graph(model.SerializeToString(), config.weights))


def test_bundled_checkpoints_are_known_wherever_they_lie(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", no_child)
    assert AgeEstimator.from_pretrained(copy).kind == "mtmsa"


def test_another_configuration_makes_it_unknown(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(copy).untried is None
    (copy / CONFIG).write_text((copy / CONFIG).read_text() + "\n")
    assert not is_bundled(copy)
    assert load(copy).untried == copy
    monkeypatch.setattr(subprocess, "run", no_child)
    with pytest.raises(AssertionError, match="a child process"):
        AgeEstimator.from_pretrained(copy)


@pytest.mark.slow
def test_a_sound_checkpoint_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.mtmsa_checkpoint(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)  # where no package lies
    (tmp_path / "torch.py").write_text("raise SystemExit(1)")
    require_success(folder)


def test_the_sentence_of_the_child_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = subprocess.CompletedProcess([], trial.REFUSED, "", "a warning\nwhat is wrong\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: refused)
    with pytest.raises(WeightsError, match=r"^what is wrong$"):
        require_success(tmp_path)


def test_a_graph_that_computes_what_pytorch_does_passes(copy: Path) -> None:
    with_operator(copy, "Tanh", "Tanh")
    compare(copy)


@pytest.mark.slow
def test_a_graph_that_says_something_else_is_refused(copy: Path) -> None:
    with_operator(copy, "Relu", "Neg")
    with pytest.raises(WeightsError, match=r"network\.onnx' computes something else"):
        compare(copy)


def test_a_graph_that_loops_is_refused_before_it_runs(copy: Path) -> None:
    with_operator(copy, "Tanh", "Loop")
    with pytest.raises(WeightsError, match="the operator 'Loop'"):
        load(copy)


def test_what_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "LIMIT", 0.01)  # in which no interpreter starts
    with pytest.raises(WeightsError, match="does not answer within"):
        require_success(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows counts neither")
def test_the_child_bounds_its_time_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child whose parent was killed ends by itself."""
    import resource

    limits: dict[int, int] = {}
    monkeypatch.setattr(resource, "setrlimit", lambda kind, soft_hard: limits.update({kind: soft_hard[0]}))
    monkeypatch.setattr(trial_child.torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(trial_child, "compare", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["trial_child", "folder"])
    assert trial_child.main() == 0
    assert limits == {
        resource.RLIMIT_CPU: trial_child.CPU_LIMIT,
        resource.RLIMIT_DATA: trial_child.MAX_MEMORY,
    }


def test_what_crashes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = subprocess.CompletedProcess([], -9, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: killed)
    with pytest.raises(WeightsError, match="failed when it was tried"):
        require_success(tmp_path)
