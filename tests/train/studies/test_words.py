"""The study of the words, with towers that read attributes off made-up crops, and its texts against the captions."""

import json
import re
import tomllib
from collections import Counter
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cilf.checkpoint import save
from cilf.demo.photo.prompt_presets import PAIRS
from cilf.inference.tokenizer import WORD
from tests import tiny
from tests.train.made_up import subset
from train.__main__ import main
from train.data.attributes import ATTRIBUTES, COLUMN
from train.data.caption_words import caption_words
from train.data.captions import vocabulary
from train.data.crop_cache import CropCache, Subset
from train.evaluate.zero_shot import PromptModel
from train.metrics import area_under_curve
from train.studies import report
from train.studies.texts.words import (
    MeasuredCrops,
    compositions,
    measured_crops,
    study,
    summary,
    table,
    visitors_prompts,
)

TEXTS = tomllib.loads(Path("train/studies/texts/words.toml").read_text(encoding="utf-8"))
TOKEN = re.compile(r"[^\W_]+(?:['&-][^\W_]+)*")
SLOT = re.compile(r"\{\w+\}")
BLANK = re.compile(r"\s{2,}")  # where a number or "his" stood in a piece
CHOICE_WORDS = {
    "smiling": 0, "serious": 0, "old": 1, "young": 1, "woman": 2, "man": 2, "black": 3, "colour": 3,
}  # fmt: skip
POSITIVE = ("smiling", "old", "woman", "black")


def tower_text(texts: list[str]) -> Tensor:
    """Each text as +1 or -1 in the four choices that it names, 0 in the others."""
    rows = torch.zeros(len(texts), 4)
    for row, text in enumerate(texts):
        for word in WORD.findall(text):
            if word in CHOICE_WORDS:
                rows[row, CHOICE_WORDS[word]] = 1.0 if word in POSITIVE else -1.0
    return torch.nn.functional.normalize(rows, dim=1)


def tower_images(crops: list[np.ndarray]) -> Tensor:
    """The four choices as `made_crops` painted them; the fourth is whether the crop has colour."""
    values = torch.from_numpy(np.stack([crop[0, :3, 1].astype(np.float32) for crop in crops]))
    grey = torch.tensor([1.0 if (np.ptp(crop, axis=-1) == 0).all() else -1.0 for crop in crops])
    rows = torch.cat([(values > 100).float() * 2 - 1, grey[:, None]], dim=1)
    return torch.nn.functional.normalize(rows, dim=1)


def model(*, knows: bool = True) -> PromptModel:
    def encode_image(crops: list[np.ndarray]) -> Tensor:
        return tower_images(crops) if knows else -tower_images(crops)

    return PromptModel("made up", "prompt-only", 8, 1.0, encode_image, tower_text, lambda text: ["x"])


def made_crops(of_each: int = 24) -> MeasuredCrops:
    """As many coloured crops of each expression, age and gender, each painted with the three."""
    choices = np.array([[e, a, g] for e in (1, 0) for a in (1, 0) for g in (1, 0)] * of_each)
    pixels = np.zeros((len(choices), 8, 8, 3), np.uint8)
    pixels[:, 0, :3, 1] = choices * 160 + 60
    attributes = np.zeros((len(choices), len(ATTRIBUTES)), np.int8)
    attributes[:, COLUMN["smiling"]] = choices[:, 0] * 2 - 1
    attributes[:, COLUMN["black_and_white"]] = -1
    ages, genders = np.where(choices[:, 1], 70.0, 25.0), np.where(choices[:, 2], "female", "male")
    return MeasuredCrops(pixels, attributes, ages, genders, [str(n // 2) for n in range(len(choices))])


def test_towers_that_know_the_words_are_right_and_turned_ones_wrong() -> None:
    right, wrong = (study(model(knows=knows), made_crops(), ["a", "b"]) for knows in (True, False))
    [smiling, other] = [
        next(row for row in right["attributes"] if row["attribute"] == name) for name in ("smiling", "warm")
    ]
    assert smiling["auc"] == 1
    assert smiling["yes"] == smiling["no"] == 96
    assert "auc" not in other
    assert right["composition"]["right"] == 1
    assert right["composition"]["photos"] == 16 * right["composition"]["photos_of_each"] == 16 * 24
    assert wrong["composition"]["right"] == 0
    assert next(row for row in wrong["attributes"] if row["attribute"] == "smiling")["auc"] == 0
    assert right["known_words"] == {"prompts": 2, "known": 0}


def test_where_too_few_photos_are_cold_or_grainy_copies_are_made_so() -> None:
    level = np.linspace(90, 230, 24).round().astype(np.uint8)
    skin = (level[:, None] * np.array([1.0, 0.8, 0.7])).round().astype(np.uint8)
    pixels = np.broadcast_to(skin[:, None, None], (24, 64, 64, 3)).copy()
    attributes = np.zeros((24, len(ATTRIBUTES)), np.int8)
    attributes[:, [COLUMN["cold"], COLUMN["grainy"]]] = -1
    crops = MeasuredCrops(
        pixels, attributes, np.full(24, 30.0), np.array([None] * 24), list("abcdefghijklmnopqrstuvwx")
    )
    texts = {
        "cold light": [1.0, 0.0],
        "warm light": [-1.0, 0.0],
        "noisy": [0.0, 1.0],
        "low noise": [0.0, -1.0],
    }

    def seen(images: list[np.ndarray]) -> Tensor:
        blue = [float(image[..., 2].mean() - image[..., 0].mean()) for image in images]
        return torch.tensor([[cold, float(image.std())] for cold, image in zip(blue, images, strict=True)])

    def read(prompts: list[str]) -> Tensor:
        return torch.tensor(
            [next((v for k, v in texts.items() if k in text), [0.0, 0.0]) for text in prompts]
        )

    areas = study(PromptModel("made up", "prompt-only", 64, 1.0, seen, read, lambda text: []), crops, ["a"])
    rows = {row["attribute"]: row for row in areas["attributes"]}
    for name in ("cold", "grainy"):
        assert (rows[name]["yes"], rows[name]["no"]) == (rows[name]["made"], 24)
        assert rows[name]["made"] >= 20
    assert rows["cold"]["auc"] == 1
    assert "24 of them made so" in table(areas["attributes"])
    assert rows["warm"]["made"] == 0


def test_without_old_faces_nothing_is_said_of_compositions() -> None:
    crops = made_crops()
    crops.ages[:] = 25
    measured = study(model(), crops, ["a"])
    assert measured["composition"] is None
    assert "not measured" in summary(measured)


def test_the_figures_become_a_section_of_studies(tmp_path: Path) -> None:
    measured = study(model(), made_crops(), ["a"])
    about = {"dataset": "utkface", "part": "tune", "weights_sha256": "0123456789"}
    (tmp_path / "words.json").write_text(json.dumps(about | measured), encoding="utf-8")
    text = report.write(tmp_path).read_text(encoding="utf-8")
    assert "weights 01234567" in text
    assert table(measured["attributes"]) in text
    assert "| smiling | a photo of a smiling person |" in text
    assert "100.0%" in text


@pytest.mark.slow
def test_the_command_measures_a_checkpoint_and_counts_evaluations_on_test(tmp_path: Path) -> None:
    save(tmp_path / "weights", tiny.model(), tiny.ensemble(), tiny.CHECKPOINT)
    photos, folder = subset(24), tmp_path / "crops" / "utkface"
    folder.mkdir(parents=True)
    np.save(folder / "crops.npy", photos.cache.crops)
    rows = [asdict(sample) | {"path": str(sample.path)} for sample in photos.samples]
    index = {"wanted": {"margin": 8}, "detected": [True] * 24, "samples": rows}
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    lines = [f"{sample.name},{('tune', 'test')[row % 2]},{row}" for row, sample in enumerate(photos.samples)]
    (tmp_path / "split.csv").write_text("\n".join(["filename,split,group", *lines]), encoding="utf-8")
    command = ["words", "--weights", str(tmp_path / "weights"), "--cache", str(tmp_path / "crops")]
    command += ["--split", str(tmp_path / "split.csv"), "--output", str(tmp_path / "words.json")]
    for part, looks in ((), 0), (("--part", "test"), 1), ((), 1), (("--part", "test"), 2):
        assert main([*command, *part]) == 0
        measured = json.loads((tmp_path / "words.json").read_text(encoding="utf-8"))
        assert measured["photos"] == 12
        assert len(measured["test_looks"]) == looks
    assert measured["part"] == "test"
    assert f"weights {measured['weights_sha256'][:8]}" in report.studies(tmp_path)


def test_crops_are_measured_on_their_middle_and_at_the_size_of_the_model() -> None:
    photos = subset(8)
    mesh = np.ones((8, 8), np.int8)
    rows = np.array([5, 2])
    crops = measured_crops(Subset(CropCache(**vars(photos.cache) | {"mesh": mesh}), rows), {"5.png": "x"}, 32)
    assert crops.pixels.shape == (2, 32, 32, 3)
    assert np.array_equal(crops.pixels[:, 0, 0], photos.cache.crops[rows, 40, 40])
    assert (crops.attributes[:, COLUMN["smiling"]] == 1).all()
    assert (crops.attributes[:, COLUMN["black_and_white"]] == 1).all()
    assert crops.units == ["x", "2.png"]
    assert crops.ages.tolist() == [photos.samples[row].age for row in rows]


@pytest.mark.parametrize("seed", range(3))
def test_area_under_the_curve_is_the_share_of_pairs_in_order(seed: int) -> None:
    chance = np.random.default_rng(seed)
    scores, positive = chance.integers(0, 9, 40).astype(float), chance.random(40) < 0.4
    pairs = scores[positive][:, None] - scores[~positive]
    area, (low, high) = area_under_curve(scores, positive)
    assert area == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert low < area < high


def test_repeated_photos_do_not_narrow_the_range_of_an_area() -> None:
    chance = np.random.default_rng(0)
    scores, positive = chance.normal(size=60), np.arange(60) < 30
    once = area_under_curve(scores, positive)
    repeated = area_under_curve(
        np.tile(scores, 4), np.tile(positive, 4), [str(index) for index in range(60)] * 4
    )
    assert repeated[0] == pytest.approx(once[0])
    assert np.ptp(repeated[1]) == pytest.approx(np.ptp(once[1]), rel=0.1)


@cache
def pieces() -> frozenset[tuple[str, ...]]:
    """What captions are put together from, word by word; the words that join pieces stand alone."""
    joined = {(word,) for word in "this is a an the that who and of".split()}
    texts = Counter(vocabulary()) - Counter(SLOT.sub(" ", sentence) for sentence in sentences())  # said whole
    parts = {part for piece in texts for part in BLANK.split(piece.lower())}
    return frozenset({tuple(TOKEN.findall(part)) for part in parts} | joined)


def is_made_of_pieces(text: str) -> bool:
    words = tuple(TOKEN.findall(text.lower()))
    ends = {0}
    for start in range(len(words)):
        if start in ends:
            ends |= {start + len(piece) for piece in pieces() if words[start : start + len(piece)] == piece}
    return len(words) in ends


@cache
def sentences() -> frozenset[str]:
    """The whole sentences of captions, with their blanks."""
    words = caption_words()
    of_ages = {text for stage in words.stages for slot, text in stage.phrases if slot == "sentence"}
    return frozenset(of_ages.union(*(statement.sentences for statement in words.statements)))


def is_a_sentence_of_captions(text: str) -> bool:
    return any(
        re.fullmatch(".+".join(map(re.escape, SLOT.split(sentence))), text.lower())
        for sentence in sentences()
    )


def test_no_caption_can_be_a_paraphrase() -> None:
    paraphrases = TEXTS["paraphrases"]
    assert len(paraphrases) == 50
    assert is_a_sentence_of_captions("she beams like the sun")
    assert [text for text in paraphrases if is_made_of_pieces(text) or is_a_sentence_of_captions(text)] == []


def test_trained_wordings_are_captions_and_all_words_are_known() -> None:
    wordings = [*TEXTS["paraphrases"].values(), *(text for pair in TEXTS["pairs"].values() for text in pair)]
    assert [text for text in wordings if not is_made_of_pieces(text)] == []
    known = {word for piece in vocabulary() for word in WORD.findall(piece.lower())}
    texts = [*wordings, *TEXTS["paraphrases"], *(text for text, _ in compositions())]
    assert {word for text in texts for word in WORD.findall(text)} <= known


def test_every_attribute_that_is_measured_both_ways_has_a_pair() -> None:
    assert set(TEXTS["pairs"]) == set(ATTRIBUTES) - {"eyes_open"}


def test_every_balance_of_the_page_is_measured() -> None:
    measured = {frozenset(pair) for pair in TEXTS["pairs"].values()}
    shown = {frozenset(pair[2:]) for pairs in PAIRS.values() for pair in pairs}
    assert shown <= measured


def test_there_are_sixteen_compositions_and_three_hundred_prompts_of_visitors() -> None:
    assert len({text for text, _ in compositions()}) == 16
    assert "a smiling old woman in a black and white photo" in dict(compositions())
    assert len(visitors_prompts()) == 300
