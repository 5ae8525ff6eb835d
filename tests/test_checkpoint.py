"""Checkpoints: what is saved comes back, and every broken one gives a sentence (`WeightsError`)."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from onnx import helper
from torch.nn import functional as F

from cilf.checkpoint import CONFIG, GRAPH, REPORT, WEIGHTS, add_graph, load, save
from cilf.errors import WeightsError
from cilf.inference.onnx_runtime import Graph
from tests import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "tiny", tiny.model(), tiny.ensemble(), tiny.CHECKPOINT)
    return tmp_path / "tiny"


@torch.no_grad()
def test_what_is_saved_comes_back(folder: Path) -> None:
    found = load(folder)
    assert found.source == "folder tiny"  # and not where it lies
    assert found.config.model == tiny.MODEL
    assert found.config.correction == tiny.CHECKPOINT.correction
    assert not found.model.training
    pixels = torch.rand(2, 3, 64, 64)
    model = tiny.model()
    wanted = model(pixels, model.encode_ages()).embedding
    got = found.model(pixels, found.model.encode_ages()).embedding
    assert F.cosine_similarity(wanted, got).min() > 0.999  # weights are kept in half precision


def test_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no config\.json"):
        load(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "{}", '{"format": "cilf-1"}', "[1, 2]", '{"architectures": ["Bert"]}']
)
def test_a_foreign_configuration(folder: Path, text: str) -> None:
    (folder / CONFIG).write_text(text)
    with pytest.raises(WeightsError, match="not a CILF configuration"):
        load(folder)


def test_a_configuration_that_fits_no_model(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    config["model"]["clip"]["architecture"] = {}
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="no model that can be built"):
        load(folder)


def test_a_configuration_whose_calibration_would_break_every_answer(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    config["conformal"] |= {"truth": [20.0, 30.0], "age": [20.0], "spread": [1.0, 1.0], "score": [0.5, 0.5]}
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="not a CILF configuration"):
        load(folder)


def test_a_configuration_that_asks_for_other_weights(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    config["model"]["clip"]["pretrained"] = "ViT-B-16/openai"
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="other than its own"):
        load(folder)


def test_a_report_of_other_weights_is_left_out(folder: Path) -> None:
    own = load(folder).config.sha256
    for sha256, kept in ((own, True), ("0" * 64, False)):
        (folder / REPORT).write_text(json.dumps({"weights_sha256": sha256}))
        assert (load(folder).report is not None) == kept


def test_missing_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(WeightsError, match="is missing"):
        load(folder)


def test_truncated_weights(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match="damaged"):
        load(folder)


def test_one_flipped_bit(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-5] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        load(folder)


def test_a_damaged_report(folder: Path) -> None:
    (folder / REPORT).write_text('{"all": ')
    with pytest.raises(WeightsError, match="damaged"):
        load(folder)


def test_weights_of_another_model(folder: Path) -> None:
    stored = json.loads((folder / CONFIG).read_text())
    stored["model"]["fusion"]["image_blocks"] = 2
    (folder / CONFIG).write_text(json.dumps(stored))
    with pytest.raises(WeightsError, match="does not fit"):
        load(folder)


def test_a_name_that_is_nothing() -> None:
    with pytest.raises(WeightsError, match="neither a folder nor"):
        load("no/such/thing/at/all")


def test_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        load("somebody/something")


def test_every_message_is_one_line(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(WeightsError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


NODE = helper.make_node("Neg", ["x"], ["y"])
OPERATIONS = helper.make_model(helper.make_graph([NODE], "made", [], [])).SerializeToString()


class TestGraph:
    """A made-up one: what is in it does not matter here."""

    @pytest.fixture
    def with_graph(self, folder: Path) -> Path:
        add_graph(folder, Graph(OPERATIONS, ("a", "b")))
        return folder

    def test_it_comes_back(self, with_graph: Path) -> None:
        assert load(with_graph).graph == Graph(OPERATIONS, ("a", "b"))

    def test_left_behind(self, with_graph: Path, caplog: pytest.LogCaptureFixture) -> None:
        (with_graph / GRAPH).unlink()
        assert load(with_graph).graph is None
        assert "network.onnx' is missing; PyTorch computes in its place, more slowly" in caplog.text

    def test_damaged(self, with_graph: Path) -> None:
        (with_graph / GRAPH).write_bytes(OPERATIONS[:-1])
        with pytest.raises(WeightsError, match=r"network\.onnx' is damaged"):
            load(with_graph)
