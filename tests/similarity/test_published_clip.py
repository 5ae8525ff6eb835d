"""A published CLIP beside our ages: allowed names alone, random weights of a registered architecture, one sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from cilf.checkpoint import load
from cilf.cli import main
from cilf.demo import texts
from cilf.demo.photo.prompt_presets import PRESETS
from cilf.demo.photo.tab import PhotoTab
from cilf.demo.server.sessions import Visits
from cilf.errors import WeightsError
from cilf.estimator import AgeEstimator
from cilf.face.finder import FaceFinder
from cilf.similarity.published_clip import PublishedClip, registered
from cilf.similarity.scores import NEUTRAL, prompt_scores
from tests import tiny
from tests.demo.conftest import blocks, hosting, request, send

NAME = "ViT-B-16-quickgelu/openai"
create = open_clip.create_model_and_transforms


@pytest.fixture
def random_weights(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """A small CLIP of random weights under every registered name; gives what was asked for."""
    asked: list[tuple[str, str]] = []

    def made(model: str, pretrained: str, device: str) -> tuple[Any, None, Any]:
        asked.append((model, pretrained))
        torch.manual_seed(0)
        transform = open_clip.image_transform(64, is_train=False)
        return open_clip.CLIP(**tiny.CLIP.architecture), None, transform

    monkeypatch.setattr(open_clip, "create_model_and_transforms", made)
    monkeypatch.setattr(
        open_clip, "get_tokenizer", lambda model: open_clip.SimpleTokenizer(context_length=24)
    )
    return asked


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ViT-B-16-quickgelu/nobodys", "weights of ViT-B-16-quickgelu: openai"),
        ("hf-hub:timm/some-clip", "a name is like"),
        ("local-dir:/models/clip", "a name is like"),
        ("hf-hub:ViT-B-16-quickgelu/openai", "a name is like"),
        ("/home/me/ViT-B-16-quickgelu/openai", "a name is like"),
        ("ViT-B-16-quickgelu//etc/passwd", "a name is like"),
        ("ViT-B-16-quickgelu/../weights.pt", "a name is like"),
        ("", "a name is like"),
    ],
)
def test_only_names_that_open_clip_registers_are_loaded(
    name: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_clip, "create_model_and_transforms", pytest.fail)
    with pytest.raises(WeightsError, match=sentence):
        AgeEstimator.from_pretrained(f"clip:{name}")


def test_every_registered_name_is_allowed() -> None:
    for model, weights in open_clip.list_pretrained():
        assert registered(f"{model}/{weights}") == (model, weights)


def test_offline_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("No route to host\nand a page of advice")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", offline)
    with pytest.raises(
        WeightsError, match=r"^the weights of the CLIP .* \(No route to host\); check [^\n]*$"
    ):
        AgeEstimator.from_pretrained(f"clip:{NAME}")


@pytest.mark.slow
def test_it_scores_prompts_and_leaves_the_ages_alone(
    random_weights: list[tuple[str, str]], finder: FaceFinder, grace_hopper: np.ndarray
) -> None:
    clip = PublishedClip.load(NAME)
    assert random_weights == [("ViT-B-16-quickgelu", "openai")]
    plain, scored = AgeEstimator(load(), finder), AgeEstimator(load(), finder, published_clip=clip)
    prompts = ["a tired zebra", "a child"]
    [face], [same] = scored.predict(grace_hopper, prompts), plain.predict(grace_hopper)
    assert (face.age, face.interval, face.status) == (same.age, same.interval, same.status)
    assert face.similarities == pytest.approx(clip.similarity(face.crop, prompts), abs=1e-5)
    assert all(-1 <= cosine <= 1 for cosine in face.similarities.values())
    assert scored.similarity(face, prompts) == pytest.approx(face.similarities, abs=1e-5)
    assert scored.unknown_words(prompts) == scored.nearest_words(prompts) == {}
    shares = scored.softmax({"a": 0.1, "b": 0.0})
    assert shares["a"] == pytest.approx(1 / (1 + np.exp(-0.1 * clip.scale)), abs=1e-5)
    [score, _] = prompt_scores(scored, face, prompts)
    assert score.scored_by == f"CLIP {NAME}"
    assert score.above_neutral == pytest.approx(
        face.similarities[prompts[0]] - clip.similarity(face.crop, [NEUTRAL])[NEUTRAL], abs=1e-5
    )
    assert scored.source == f"{plain.source}, prompts by CLIP {NAME}"
    assert plain.scored_by == plain.source


@pytest.mark.slow
def test_the_page_compares_by_it_and_says_so(
    random_weights: list[tuple[str, str]],
    grace_hopper: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    photo = tmp_path / "upload" / "portrait.png"
    photo.parent.mkdir()
    Image.fromarray(grace_hopper).save(photo)
    with blocks():
        tab = PhotoTab(hosting(AgeEstimator.from_pretrained(f"clip:{NAME}")), Visits())
    *_, answer = send(tab, photo, "a tired zebra\na child", request())
    assert f"Compared by CLIP {NAME}." in answer[tab.scores]
    assert "Not seen in training" not in answer[tab.scores]
    assert texts.MEASURED_WORDS not in answer[tab.scores]
    balanced = tab.on_prompts("\n".join(PRESETS["Light"]), 0, request())[tab.scores]
    assert balanced.count("cilf-balance") == 4
    assert texts.MEASURED_WORDS not in balanced
    assert all(answer[button].visible for button in tab.presets)


@pytest.mark.slow
def test_the_command_line_compares_by_it_and_says_so(
    random_weights: list[tuple[str, str]], grace_hopper: np.ndarray, tmp_path: Path
) -> None:
    photo, table = tmp_path / "portrait.png", tmp_path / "ages.json"
    Image.fromarray(grace_hopper).save(photo)
    options = ["--weights", f"clip:{NAME}", "--prompts", "a tired zebra", "--output", str(table)]
    assert main(["predict", str(photo), *options]) == 0
    assert random_weights == [("ViT-B-16-quickgelu", "openai")]
    [row] = json.loads(table.read_text())
    assert row["scored_by"] == f"CLIP {NAME}"
    assert -1 <= row["similarity: a tired zebra"] <= 1


def test_the_command_line_says_in_one_sentence_that_it_cannot_fetch_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("No route to host")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", offline)
    photo = tmp_path / "grey.png"
    Image.new("RGB", (64, 64)).save(photo)
    assert main(["predict", str(photo), "--weights", f"clip:{NAME}", "--prompts", "a child"]) == 2
    [sentence] = capsys.readouterr().err.splitlines()
    assert "cannot be fetched (No route to host); check the connection" in sentence


def test_a_revision_is_refused(random_weights: list[tuple[str, str]]) -> None:
    with pytest.raises(WeightsError, match="has no revision 'v1'"):
        AgeEstimator.from_pretrained(f"clip:{NAME}", revision="v1")


def test_the_tokenizer_keeps_a_bounded_number_of_words(
    random_weights: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cilf.similarity.published_clip.MAX_CACHED_WORDS", 0)
    clip = PublishedClip.load(NAME)
    before = len(clip._tokenizer.cache)
    clip.similarity(np.zeros((64, 64, 3), np.uint8), ["a zebra"])
    assert len(clip._tokenizer.cache) == before


@pytest.mark.slow
def test_the_architecture_of_the_published_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def without_weights(model: str, pretrained: str, device: str) -> Any:
        return create(model, pretrained=None, device=device)

    monkeypatch.setattr(open_clip, "create_model_and_transforms", without_weights)
    clip = PublishedClip.load(NAME)
    texts = ["a smiling person", "a serious person"]
    cosines = clip.similarity(np.full((128, 128, 3), 90, np.uint8), texts)
    assert list(cosines) == texts
    assert all(-1 <= cosine <= 1 for cosine in cosines.values())
    assert clip.scale > 1
