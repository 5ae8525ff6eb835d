"""Prompts alone: the arithmetic with towers made by hand, and the command with a tiny CLIP of random weights."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from cilf.checkpoint import save
from cilf.errors import WeightsError
from cilf.face.finder import FaceFinder
from tests import tiny
from train.__main__ import main
from train.data.datasets import Sample
from train.evaluate import zero_shot
from train.evaluate.zero_shot import PromptModel, age_embeddings, estimate, predict, public_clip

ARCHITECTURE = {**tiny.CLIP.architecture, "embed_dim": 16}


def oracle(scale: float = 100.0) -> PromptModel:
    """Towers in which a picture's red and a text's number are one direction: the right age is the nearest text."""

    def direction(number: int) -> torch.Tensor:
        return torch.eye(101)[number]

    return PromptModel(
        "by hand",
        "zero-shot",
        size=32,
        scale=scale,
        encode_image=lambda crops: torch.stack([direction(min(int(crop[16, 16, 0]), 100)) for crop in crops]),
        encode_text=lambda texts: torch.stack(
            [direction(int(re.findall(r"\d+", text)[0])) for text in texts]
        ),
    )


def tiny_clip() -> tuple[torch.nn.Module, object, object]:
    """What open_clip gives for a name, with random weights."""
    torch.manual_seed(0)
    clip = open_clip.CLIP(**ARCHITECTURE).eval()
    return clip, None, open_clip.image_transform(64, is_train=False)


def tiny_tokenizer(model: str) -> object:
    return open_clip.SimpleTokenizer(context_length=24)


@pytest.mark.parametrize("age", [0, 37, 100])
def test_the_age_whose_prompt_is_nearest_wins(age: int) -> None:
    model = oracle()
    ages = age_embeddings(model, ("a person aged {age}", "{age} years old"))
    assert ages.shape == (101, 101)
    assert torch.allclose(ages.norm(dim=-1), torch.ones(101))
    chances = estimate(model, [np.full((32, 32, 3), age, np.uint8)], ages)
    assert chances.sum().item() == pytest.approx(1, abs=1e-5)
    assert (chances @ torch.arange(101.0)).item() == pytest.approx(age, abs=1e-3)


def test_the_models_own_scale_decides_how_sure_it_is() -> None:
    crop = [np.full((32, 32, 3), 20, np.uint8)]
    sure, unsure = (estimate(m, crop, age_embeddings(m)).max().item() for m in (oracle(100), oracle(1)))
    assert sure == pytest.approx(1)
    assert unsure == pytest.approx(np.e / (np.e + 100), rel=1e-4)


def test_templates_are_averaged() -> None:
    """A template that names another age pulls half-way."""
    model = oracle()
    ages = age_embeddings(model, ("{age}", "50, that is {age}"))
    chances = estimate(model, [np.full((32, 32, 3), 10, np.uint8)], ages)
    assert chances[0, 10] > 0.99
    assert torch.allclose(ages[10, [10, 50]], torch.full((2,), 0.5**0.5))


def test_predict_goes_through_the_face_finder(
    tmp_path: Path, finder: FaceFinder, grace_hopper: np.ndarray
) -> None:
    Image.fromarray(grace_hopper).save(tmp_path / "face.png")
    Image.new("RGB", (80, 80), (44, 0, 0)).save(tmp_path / "plain.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")  # left out
    samples = [
        Sample(tmp_path / name, name, 40.0, None, None, "fgnet", subject="1")
        for name in ("face.png", "broken.png", "plain.png")
    ]
    found = predict(oracle(), samples, finder).set_index("name")
    assert found["detected"].to_dict() == {"face.png": True, "plain.png": False}
    assert found.loc["plain.png", "age"] == pytest.approx(44, abs=1e-3)


@pytest.fixture
def photos(tmp_path: Path, eileen_collins: np.ndarray) -> list[str]:
    folder = tmp_path / "FG" / "images"
    folder.mkdir(parents=True)
    for name in ("001A05.JPG", "001A40.JPG", "002A62.JPG"):
        Image.fromarray(eileen_collins).crop((135, 20, 315, 200)).save(folder / name, "JPEG")
    return ["--data", f"fgnet={tmp_path / 'FG'}"]


def test_any_clip_of_open_clips_is_zero_shot(
    photos: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def create(model: str, pretrained: str, device: str) -> tuple[torch.nn.Module, object, object]:
        asked.append((model, pretrained))
        return tiny_clip()

    monkeypatch.setattr(open_clip, "create_model_and_transforms", create)
    monkeypatch.setattr(open_clip, "get_tokenizer", tiny_tokenizer)
    report, rows = tmp_path / "report.json", tmp_path / "rows.csv"
    arguments = ["evaluate", "--zero-shot", "--clip", "ViT-B-16-quickgelu/openai", *photos]
    assert main([*arguments, "--report", str(report), "--predictions", str(rows)]) == 0
    assert asked == [("ViT-B-16-quickgelu", "openai")]
    found = json.loads(report.read_text())
    assert (found["mode"], found["clip"]) == ("zero-shot", "ViT-B-16-quickgelu/openai")
    assert (found["part"], found["all"]["count"], found["detected"]) == ("all", 3, 3)
    assert found["test_looks"] == []
    assert list(found["cs_curve"]) == [str(years) for years in range(11)]
    with rows.open(newline="") as file:
        assert {row["filename"]: row["subject"] for row in csv.DictReader(file)}["002A62.JPG"] == "002"
    assert capsys.readouterr().out.startswith("zero-shot: ViT-B-16-quickgelu/openai")


def test_our_own_towers_are_prompt_only(
    photos: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    split = tmp_path / "split.csv"
    split.write_text("filename,split,group\n001A05.JPG,test,1\n")
    save(tmp_path / "checkpoint", tiny.model(), tiny.ensemble(), tiny.CHECKPOINT)
    prompts = ["evaluate", "--zero-shot", "--weights", str(tmp_path / "checkpoint")]
    assert main([*prompts, *photos, "--split", str(split)]) == 0
    assert "This evaluation on the test part is not counted" in caplog.text
    said = capsys.readouterr().out
    assert said.startswith("prompt-only")
    assert "zero-shot" not in said


def test_a_clip_that_cannot_be_had_is_one_sentence(
    photos: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("No route to host\nand a page of advice")

    monkeypatch.setattr(open_clip, "create_model_and_transforms", offline)
    assert main(["evaluate", "--zero-shot", "--clip", "ViT-B-16-quickgelu/openai", *photos]) == 2
    said = capsys.readouterr().err.strip()
    assert "cannot be fetched (No route to host)" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ViT-B-16-quickgelu/nobodys", "weights of ViT-B-16-quickgelu: openai"),
        ("no-such", "a name is like ViT-B-16-quickgelu/openai"),
    ],
)
def test_unknown_names(name: str, said: str) -> None:
    with pytest.raises(WeightsError, match=said):
        public_clip(name)


def test_a_folder_or_hub_repository_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert zero_shot._named("hf-hub:timm/some-clip") == ("hf-hub:timm/some-clip", None)
    assert zero_shot._named("local-dir:/models/clip") == ("local-dir:/models/clip", None)
