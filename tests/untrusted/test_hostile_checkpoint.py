"""Checkpoints made to do harm: each is refused with a sentence, before it takes memory, time or a file."""

import hashlib
import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cilf import AgeEstimator
from cilf.checkpoint import CARD, CONFIG, REPORT, WEIGHTS, GraphConfig, is_report_of, load, read_config, save
from cilf.errors import WeightsError
from cilf.untrusted import shape_check
from cilf.untrusted.trial_child import NoFaces
from tests import tiny


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save(folder, tiny.model(), tiny.ensemble(), tiny.CHECKPOINT)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "tiny"))


@pytest.fixture(scope="module")
def original_mtmsa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.mtmsa_checkpoint(tmp_path_factory.mktemp("mtmsa"))


@pytest.fixture
def mtmsa(original_mtmsa: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original_mtmsa, tmp_path / "mtmsa"))


def change(folder: Path, place: str, value: Any) -> None:
    """Put a value into the configuration; `place` is a path such as "model.fusion.width"."""
    stored = json.loads((folder / CONFIG).read_text())
    *path, last = place.split(".")
    inner = stored
    for key in path:
        inner = inner[key]
    inner[last] = value
    (folder / CONFIG).write_text(json.dumps(stored))


CLIP, TEXT, VISION = (
    f"model.clip{part}" for part in ("", ".architecture.text_cfg", ".architecture.vision_cfg")
)
HUGE = 10**9


class TestConfiguration:
    @pytest.mark.parametrize(
        ("place", "value"),
        [
            (f"{CLIP}.architecture.embed_dim", HUGE),
            (f"{CLIP}.token_ids", [HUGE]),
            (f"{CLIP}.words", ["a" * 1000]),
            (f"{CLIP}.std", [0, 0, 0]),
            (f"{CLIP}.grid_stage", -HUGE),
            (f"{TEXT}.vocab_size", HUGE),
            (f"{TEXT}.context_length", 100_000),
            (f"{TEXT}.layers", HUGE),
            (f"{VISION}.image_size", HUGE),
            (f"{VISION}.layers", HUGE),
            ("model.prompts.anchors", HUGE),
            ("model.prompts.num_ages", HUGE),
            ("model.prompts.context_tokens", HUGE),
            ("model.prompts.templates", ["{age}"] * 1000),
            ("model.prompts.templates", ["{age:9999999999}"]),
            ("model.prompts.templates", ["{age.__class__}"]),
            ("model.prompts.templates", ["{age} " + "a" * 100_000]),
            ("model.fusion.image_blocks", HUGE),
            ("model.fusion.width", HUGE),
            ("ensemble.members", HUGE),
            ("ensemble.width", HUGE),
            ("ensemble.levels", [float("nan")]),
            ("correction.epsilon", float("nan")),
            ("correction.max_views", HUGE),
            ("predictive.temperature", 0),
            ("conformal.truth", [1e300]),
            ("conformal.score", [float("inf")]),
            ("familiarity.photos", HUGE),
            ("views", [{"name": "wide", "zoom": 1e300}]),
            ("views", [{"name": "coarse", "reduction": 0}]),
            ("training", {"tune_mae": float("nan")}),
            ("training", "a" * 10_000_000),
        ],
    )
    def test_a_number_or_text_out_of_range_is_refused(self, folder: Path, place: str, value: Any) -> None:
        change(folder, place, value)
        with pytest.raises(WeightsError, match="not a CILF configuration") as caught:
            load(folder)
        assert len(str(caught.value)) < 500

    @pytest.mark.parametrize(
        ("place", "value"),
        [("image_size", HUGE), ("width", HUGE), ("num_ages", HUGE), ("dilations", [1] * 1000)],
    )
    def test_so_is_one_of_mtmsa(self, mtmsa: Path, place: str, value: Any) -> None:
        change(mtmsa, f"model.{place}", value)
        with pytest.raises(WeightsError, match="not a CILF configuration"):
            load(mtmsa)

    @pytest.mark.parametrize(
        ("model", "place", "value"),
        [
            (tiny.lra_gnn, "image_size", 1024),
            (tiny.lra_gnn, "heads", HUGE),
            (tiny.lra_gnn, "layers", HUGE),
            (tiny.lra_gnn, "edges", 0.0),
            (tiny.lra_gnn, "moves", HUGE),
            (tiny.lra_gnn, "decades", HUGE),
            (tiny.lra_gnn, "trunk", "hf-hub:somebody/model"),
            (tiny.mcgrl, "neighbours", [1] * 1000),
            (tiny.mcgrl, "expansion", HUGE),
            (tiny.mcgrl, "embed", HUGE),
            (tiny.mcgrl, "mask", 1.5),
            (tiny.mcgrl, "trunk", "local-dir:/etc"),
        ],
    )
    def test_so_is_one_of_a_graph_network(
        self, model: Callable[[], Any], place: str, value: Any, tmp_path: Path
    ) -> None:
        network = model()
        config = replace(tiny.MTMSA_CHECKPOINT, model=network.config)
        save(tmp_path, network, tiny.GaussianError(), config)
        change(tmp_path, f"model.{place}", value)
        with pytest.raises(WeightsError, match="not a CILF configuration"):
            load(tmp_path)

    def test_more_neighbours_than_nodes_are_no_model(self, tmp_path: Path) -> None:
        save(tmp_path, tiny.mcgrl(), tiny.GaussianError(), tiny.MCGRL_CHECKPOINT)
        change(tmp_path, "model.dilations", [1, 9])
        with pytest.raises(WeightsError, match="no model that can be built"):
            load(tmp_path)

    @pytest.mark.parametrize(
        ("place", "value"),
        [
            (f"{TEXT}.vocab_size", 40_000),
            (f"{TEXT}.width", 4096),
            ("ensemble.members", 64),
            ("ensemble.width", 4096),
            ("model.fusion.width", 4096),
            ("familiarity", {"photos": 100_000, "embed_dim": 4096}),
        ],
    )
    def test_shapes_are_compared_before_anything_is_allocated(
        self, folder: Path, place: str, value: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        devices: list[str] = []

        def recorded(build: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(config: Any) -> Any:
                devices.append(torch.empty(0).device.type)
                return build(config)

            return wrapped

        monkeypatch.setattr(shape_check, "build", recorded(shape_check.build))
        change(folder, place, value)
        with pytest.raises(WeightsError, match="does not fit"):
            load(folder)
        assert set(devices) == {"meta"}


class TestNothingButTheFolder:
    @pytest.mark.parametrize(
        ("place", "value"),
        [
            (f"{VISION}.timm_model_name", "hf-hub:somebody/model"),
            (f"{VISION}.timm_model_name", "local-dir:/etc"),
            (f"{VISION}.timm_model_name", "eva_giant_patch14_224"),
            (f"{VISION}.timm_model_pretrained", True),
            (f"{TEXT}.hf_model_name", "somebody/model"),
            (f"{TEXT}.hf_tokenizer_name", "somebody/model"),
            (f"{CLIP}.pretrained", "ViT-B-16/openai"),
            (f"{CLIP}.pretrained", "hf-hub:somebody/model"),
        ],
    )
    def test_an_architecture_from_elsewhere_is_refused(
        self, folder: Path, place: str, value: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_network(*_: Any) -> None:
            raise AssertionError("the network is used")

        monkeypatch.setattr(socket, "getaddrinfo", no_network)
        change(folder, place, value)
        with pytest.raises(WeightsError, match=r"not a CILF configuration|other than its own"):
            load(folder)

    @pytest.mark.parametrize("trunk", ["hf-hub:somebody/model", "local-dir:/etc", "vit_giant_patch14_224"])
    def test_so_is_one_for_mtmsa(self, mtmsa: Path, trunk: str) -> None:
        change(mtmsa, "model.trunk", trunk)
        with pytest.raises(WeightsError, match="not a CILF configuration"):
            load(mtmsa)


class TestNumbers:
    @pytest.mark.parametrize("number", [float("nan"), float("inf")])
    def test_weights_that_are_no_numbers_are_refused(self, mtmsa: Path, number: float) -> None:
        tensors = load_file(mtmsa / WEIGHTS)
        tensors["model.head.mean.weight"][0, 0] = number
        save_file(tensors, mtmsa / WEIGHTS)
        change(mtmsa, "sha256", hashlib.sha256((mtmsa / WEIGHTS).read_bytes()).hexdigest())
        with pytest.raises(WeightsError, match="holds NaN or infinity"):
            load(mtmsa)

    def test_errors_too_large_for_a_number_are_no_estimate(self, folder: Path) -> None:
        checkpoint = load(folder)
        large = {
            name: np.full_like(value, 1e30) if name.startswith("ensemble.") else value
            for name, value in checkpoint.tensors.items()
        }
        checkpoint = replace(checkpoint, tensors=large)
        with pytest.raises(WeightsError, match="ages or errors that cannot be"):
            AgeEstimator(checkpoint, NoFaces()).predict(np.zeros((64, 64, 3), np.uint8), no_face="whole")

    @pytest.mark.parametrize("age", [-1.0, 101.0])
    def test_an_age_out_of_range_is_no_estimate(self, mtmsa: Path, age: float) -> None:
        checkpoint = load(mtmsa)
        describe = checkpoint.model.describe

        def other_ages(*values: Any, **options: Any) -> Any:
            description = describe(*values, **options)
            estimate = replace(description.estimate, age=torch.full_like(description.estimate.age, age))
            return replace(description, estimate=estimate)

        checkpoint.model.describe = other_ages
        with pytest.raises(WeightsError, match="outside the range of 0 to 100 years"):
            AgeEstimator(checkpoint, NoFaces()).predict(np.zeros((64, 64, 3), np.uint8), no_face="whole")

    def test_a_report_with_what_is_no_number_is_damaged(self, mtmsa: Path) -> None:
        (mtmsa / REPORT).write_text('{"all": {"mae": NaN}}')
        with pytest.raises(WeightsError, match=r"report\.json' is damaged"):
            load(mtmsa)

    def test_a_report_belongs_to_exact_weights_and_graph(self, mtmsa: Path) -> None:
        config = read_config(mtmsa)
        with_graph = replace(config, graph=GraphConfig((), "a" * 64))
        for stated, of, belongs in (
            ({"weights_sha256": config.sha256}, config, True),
            ({}, config, False),
            ({"weights_sha256": "0" * 64}, config, False),
            ({"weights_sha256": config.sha256}, with_graph, False),
            ({"weights_sha256": config.sha256, "graph_sha256": "b" * 64}, with_graph, False),
            ({"weights_sha256": config.sha256, "graph_sha256": "a" * 64}, with_graph, True),
            ({"weights_sha256": config.sha256, "graph_sha256": "a" * 64}, config, False),
        ):
            assert is_report_of(stated, mtmsa, of) == belongs


def test_a_card_without_end_or_of_another_file_is_left_out(folder: Path) -> None:
    with (folder / CARD).open("wb") as file:
        file.truncate(300 << 20)
    assert load(folder).card == ""
    (folder / CARD).unlink()
    (folder / CARD).symlink_to("/etc/passwd")
    assert load(folder).card == ""
