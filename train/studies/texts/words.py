"""Do the taught words fit what is measured? Pairs of prompts, compositions, paraphrases and visitors' words.

Nobody has labelled expression, light or quality: the truth is what `train.data.attributes` measures on the same crops,
by the rules that made the training captions. So the study says how well the towers learned the words, not how people
would use them. Age and gender are the labels'. Where too few photos are in cold light or grainy, as in UTKFace, copies
of them are made so.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int8, UInt8
from scipy.stats import spearmanr
from torch import Tensor

from train.data.attributes import ATTRIBUTES, COLUMN, MESH, visible
from train.data.augmentation.augment import plain
from train.data.crop_cache import Subset
from train.data.photo_attributes import LUMA, photo_attributes
from train.evaluate.contact_sheets import counted_by_eye
from train.evaluate.zero_shot import PromptModel
from train.formatting import span
from train.metrics import area_under_curve, bootstrap_range, within

Pixels = UInt8[np.ndarray, "crop size size 3"]

TEXTS = Path(__file__).with_name("words.toml")
VISITORS = Path(__file__).with_name("prompts_of_visitors.txt")

BATCH = 64
FEWEST = 20  # crops on either side, from which on an area under the curve is given
GOOD, FAIR = 0.85, 0.75  # areas under the curve that the report counts
COLD_LIGHT = (0.65, 0.9, 1.4)  # gains of red, green and blue
GRAIN = 0.06  # standard deviation of made noise, of the full range

# The four choices of a composition. Ages are those of the captions' "young" and "old", without those at which captions
# say "boy" and "girl".
AGE_GROUPS = {"young": (17, 30), "old": (62, 120)}
GENDERS = {"man": "male", "woman": "female"}
EXPRESSIONS = {"smiling": 1, "serious": -1}
TONES = ("colour", "black and white")
CHOICES: Mapping[str, Sequence[str]] = {
    "expression": tuple(EXPRESSIONS),
    "age": tuple(AGE_GROUPS),
    "gender": tuple(GENDERS),
    "tone": TONES,
}
COMPOSITION = "a {expression} {age} {gender} in a {tone} photo"


@dataclass(frozen=True)
class MeasuredCrops:
    """Crops of one part of a data set.

    Attributes:
        pixels: (N, S, S, 3) uint8 RGB.
        attributes: (N, A) three-valued, in the order of `ATTRIBUTES`.
        ages: (N,) in years.
        genders: as labelled.
        units: group of near-duplicates that each crop belongs to.
    """

    pixels: Pixels
    attributes: Int8[np.ndarray, "crop attribute"]
    ages: Float[np.ndarray, " crop"]
    genders: np.ndarray
    units: Sequence[str]


def measured_crops(subset: Subset, groups: Mapping[str, str], size: int) -> MeasuredCrops:
    """The subset's crops, `size` pixels a side, and their attributes as measured at the cache's own size."""
    cache, pixels, attributes = subset.cache, [], []
    for rows in np.array_split(subset.rows, -(-len(subset.rows) // BATCH)):
        crops = torch.from_numpy(cache.crops[rows])
        measured = photo_attributes(plain(crops, cache.size, cache.margin))
        mesh = np.zeros((len(rows), len(MESH)), np.int8) if cache.mesh is None else cache.mesh[rows]
        flipped = torch.zeros(len(rows), dtype=torch.bool)
        attributes.append(visible(measured, torch.from_numpy(mesh), flipped))
        shown = (plain(crops, size, cache.margin) * 255).round().to(torch.uint8)
        pixels.append(shown.permute(0, 2, 3, 1).numpy())
    samples = subset.samples
    return MeasuredCrops(
        np.concatenate(pixels),
        torch.cat(attributes).numpy(),
        np.array([sample.age for sample in samples], dtype=np.float64),
        np.array([sample.gender for sample in samples]),
        [groups.get(sample.name, sample.name) for sample in samples],
    )


@torch.inference_mode()
def study(model: PromptModel, crops: MeasuredCrops, prompts: Sequence[str]) -> dict[str, Any]:
    """All figures, as JSON values; `prompts` are those that visitors might type."""
    texts = tomllib.loads(TEXTS.read_text(encoding="utf-8"))
    images = _encode(model, crops.pixels)
    return {
        "photos": len(images),
        "attributes": _attribute_rows(model, images, crops, texts["pairs"]),
        "composition": _composition(model, crops),
        "paraphrases": _paraphrases(model, images, texts["paraphrases"]),
        "known_words": {
            "prompts": len(prompts),
            "known": float(np.mean([not model.unknown_words(prompt) for prompt in prompts])),
        },
    }


def visitors_prompts() -> list[str]:
    """300 prompts that visitors might type, written before the captions were."""
    return VISITORS.read_text(encoding="utf-8").splitlines()


def _encode(model: PromptModel, pixels: Pixels) -> Float[Tensor, "crop embed"]:
    batches = [
        model.encode_image(list(pixels[first : first + BATCH])) for first in range(0, len(pixels), BATCH)
    ]
    return torch.cat(batches)


def _scores(
    model: PromptModel, images: Float[Tensor, "crop embed"], texts: Sequence[str]
) -> Float[np.ndarray, "crop text"]:
    scores: np.ndarray = (images @ model.encode_text(list(texts)).T).double().numpy(force=True)
    return scores


@torch.inference_mode()
def attribute_areas(model: PromptModel, crops: MeasuredCrops) -> dict[str, float]:
    """Attribute → area under the curve of its pair of prompts, where enough crops show and lack it clearly."""
    pairs = tomllib.loads(TEXTS.read_text(encoding="utf-8"))["pairs"]
    rows = _attribute_rows(model, _encode(model, crops.pixels), crops, pairs)
    return {row["attribute"]: row["auc"] for row in rows if "auc" in row}


def _attribute_rows(
    model: PromptModel,
    images: Float[Tensor, "crop embed"],
    crops: MeasuredCrops,
    pairs: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """A row for each attribute with a pair of prompts; without an area where too few crops show or lack it clearly.

    Where too few show one of `MADE`, copies that were changed so that they do are added (`made`).
    """
    rows = []
    for name in (name for name in ATTRIBUTES if name in pairs):
        values, scores = crops.attributes[:, COLUMN[name]], _scores(model, images, pairs[name])
        units, made = list(crops.units), 0
        if (values > 0).sum() < FEWEST and name in MADE:
            pixels = MADE[name](crops.pixels)
            shown = _measured(pixels)[:, COLUMN[name]] > 0
            made = int(shown.sum())
            more = _scores(model, _encode(model, pixels[shown]), pairs[name]) if made else scores[:0]
            values, scores = np.append(values, np.ones(made)), np.concatenate([scores, more])
            units += [crops.units[index] for index in np.flatnonzero(shown).tolist()]
        clear = values != 0
        row: dict[str, Any] = {
            "attribute": name,
            "prompts": list(pairs[name]),
            "yes": int((values > 0).sum()),
            "no": int((values < 0).sum()),
            "made": made,
        }
        if min(row["yes"], row["no"]) >= FEWEST:
            difference = scores[clear, 0] - scores[clear, 1]
            clear_units = [units[index] for index in np.flatnonzero(clear)]
            row["auc"], row["auc_range"] = area_under_curve(difference, values[clear] > 0, clear_units)
        rows.append(row)
    return rows


def _measured(pixels: Pixels) -> Int8[np.ndarray, "crop pixel_attribute"]:
    batches = [
        photo_attributes(torch.from_numpy(pixels[first : first + BATCH]).permute(0, 3, 1, 2) / 255)
        for first in range(0, len(pixels), BATCH)
    ]
    return torch.cat(batches).numpy()


def _in_cold_light(pixels: Pixels) -> Pixels:
    cold: Pixels = (pixels * np.array(COLD_LIGHT)).clip(0, 255).round().astype(np.uint8)
    return cold


def _grainy(pixels: Pixels) -> Pixels:
    noise = np.random.default_rng(0).normal(0, 255 * GRAIN, pixels.shape)
    grainy: Pixels = (pixels + noise).clip(0, 255).round().astype(np.uint8)
    return grainy


MADE = {"cold": _in_cold_light, "grainy": _grainy}


def compositions() -> list[tuple[str, dict[str, str]]]:
    """The 16 sentences, each with its four choices."""
    choices = [dict(zip(CHOICES, words, strict=True)) for words in product(*CHOICES.values())]
    return [(COMPOSITION.format(**words), words) for words in choices]


def _composition(model: PromptModel, crops: MeasuredCrops, seed: int = 0) -> dict[str, Any] | None:
    """How often the right one of 16 sentences fits best, on as many crops of each; None where one has no crop.

    Each crop is shown in colour and, converted, in black and white.
    """
    cells = {
        (expression, age, gender): np.flatnonzero(_shows(crops, expression, age, gender))
        for expression, age, gender in product(EXPRESSIONS, AGE_GROUPS, GENDERS)
    }
    count = min(map(len, cells.values()))
    if not count:
        return None
    generator = np.random.default_rng(seed)
    chosen = {words: generator.choice(rows, count, replace=False) for words, rows in cells.items()}
    order = np.concatenate(list(chosen.values()))
    coloured = crops.pixels[order]
    pixels = np.concatenate([coloured, _black_and_white(coloured)])
    sentences, sides = zip(*compositions(), strict=True)
    best = _scores(model, _encode(model, pixels), sentences).argmax(axis=1)
    truth = [
        (*words, tone) for tone in TONES for words, rows in chosen.items() for _ in rows
    ]  # in the order of `pixels`
    right = np.array(
        [
            [sides[guess][choice] == word for choice, word in zip(CHOICES, words, strict=True)]
            for guess, words in zip(best, truth, strict=True)
        ]
    )
    whole = right.all(axis=1).astype(np.float64)
    return {
        "photos": len(pixels),
        "photos_of_each": count,
        "right": float(whole.mean()),
        "right_range": bootstrap_range(whole, [crops.units[row] for row in order] * len(TONES)),
        "right_choices": dict(zip(CHOICES, right.mean(axis=0).tolist(), strict=True)),
    }


def _shows(crops: MeasuredCrops, expression: str, age: str, gender: str) -> Bool[np.ndarray, " crop"]:
    """Which crops are in colour and show this, by labels and clear measurement."""
    shows: np.ndarray = (
        (crops.attributes[:, COLUMN["smiling"]] == EXPRESSIONS[expression])
        & (crops.attributes[:, COLUMN["black_and_white"]] == -1)
        & within(crops.ages, *AGE_GROUPS[age])
        & (crops.genders == GENDERS[gender])
    )
    return shows


def _black_and_white(pixels: Pixels) -> Pixels:
    luma = (pixels @ np.array(LUMA)).round().astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=-1)


def _paraphrases(
    model: PromptModel, images: Float[Tensor, "crop embed"], paraphrases: Mapping[str, str]
) -> dict[str, Any]:
    """Spearman's rank correlation, over the crops, of each sentence's similarity with that of its caption."""
    rows: list[dict[str, Any]] = []
    for text, caption in paraphrases.items():
        scores = _scores(model, images, (text, caption))
        # Not a number where one of them scores all crops alike: then it ranks nothing.
        correlation = float(np.nan_to_num(spearmanr(scores[:, 0], scores[:, 1]).statistic))
        rows.append({"text": text, "caption": caption, "rank_correlation": correlation})
    values = [row["rank_correlation"] for row in rows]
    return {"median": float(np.median(values)), "rows": rows}


def table(attributes: Sequence[Mapping[str, Any]]) -> str:
    """A row for each attribute, the best told first, in Markdown."""
    lines = [
        "| attribute | true of it | false of it | photos with it | without | area under the curve (95 % range) "
        "| measured wrongly |",
        "|---|---|---|---|---|---|---|",
    ]
    by_eye = counted_by_eye()
    for row in sorted(attributes, key=lambda row: -row.get("auc", 0)):
        area = f"{row['auc']:.3f} ({span(row['auc_range'], '.3f')})" if "auc" in row else "too few photos"
        true, false = row["prompts"]
        name = row["attribute"].replace("_", " ")
        shown, wrong = by_eye.get(row["attribute"], (0, 0))
        eye = f"{wrong} of {shown}" if shown else "not counted"
        yes = f"{row['yes']}, {row['made']} of them made so" if row.get("made") else f"{row['yes']}"
        lines.append(f"| {name} | {true} | {false} | {yes} | {row['no']} | {area} | {eye} |")
    return "\n".join(lines)


def summary(measured: Mapping[str, Any]) -> str:
    """The other figures in a few sentences."""
    areas = [row["auc"] for row in measured["attributes"] if "auc" in row]
    good, fair = (sum(area >= least for area in areas) for least in (GOOD, FAIR))
    paraphrases, known = measured["paraphrases"], measured["known_words"]
    close = [row for row in paraphrases["rows"] if row["rank_correlation"] >= 0.8]
    return "\n".join(
        [
            f"- Attributes: of {len(areas)} that were measured {good} have an area of {GOOD} or more, {fair} one of "
            f"{FAIR} or more.",
            f"- Composition: {_composition_sentence(measured['composition'])}",
            f"- Paraphrases: median rank correlation {paraphrases['median']:.2f}; {len(close)} of "
            f"{len(paraphrases['rows'])} are at 0.8 or more.",
            f"- Known words: of {known['prompts']} prompts that visitors might type, {known['known']:.0%} hold known "
            "words alone.",
        ]
    )


def _composition_sentence(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "not measured, for lack of photos."
    choices = ", ".join(f"{name} {share:.0%}" for name, share in row["right_choices"].items())
    return (
        f"the right one of 16 sentences comes first for {row['right']:.1%} (95 % range "
        f"{span(row['right_range'], '.1%')}; by chance 6 %) of {row['photos']} photos, {row['photos_of_each']} of "
        f"each. Right by itself: {choices}."
    )
