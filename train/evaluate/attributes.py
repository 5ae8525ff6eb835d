"""How well a system tells gender and race, for `evaluate` alone: nothing that a visitor sees asks for either.

Some networks have heads for both. One with a text tower and no heads is asked which prompts fit a face best, in
sentences as its captions had them; one with neither guesses nothing. The truth is the data set's label, which other
people or programs gave.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cilf.checkpoint import Checkpoint
from cilf.estimator import AgeEstimator
from cilf.prediction import FacePrediction
from train.data.captions import RACES, article
from train.metrics import share_range

Guess = Callable[[FacePrediction], dict[str, str]]
"""A face → `gender_guess` and `race_guess`, in the words of the labels."""

YOUNG, GROWN = {"male": "boy", "female": "girl"}, {"male": "man", "female": "woman"}
GROWN_UP = 16  # years; from here on captions say "man" and "woman"


def prompts(age: float) -> dict[str, dict[str, list[str]]]:
    """Attribute → label → the sentences that speak for it, of a face that looks so many years old.

    "a man" and "a woman", because no caption without an age says "a male person".
    """
    nouns = YOUNG if age < GROWN_UP else GROWN
    return {
        "gender": {gender: [f"a photo of a {noun}"] for gender, noun in nouns.items()},
        "race": {
            race: [f"a photo of {article(word)} {word} {noun}" for noun in nouns.values()]
            for race, word in RACES.items()
        },
    }


def guesser(checkpoint: Checkpoint, estimator: AgeEstimator) -> Guess:
    """How these weights guess; `estimator` was made from `checkpoint`."""
    classify = getattr(checkpoint.model, "classify", None)  # of networks with heads for attributes
    if classify is not None:
        return _by_heads(classify, checkpoint.model)
    return _by_prompts(estimator) if estimator.compares_texts else lambda face: {}


def _by_heads(classify: Callable[[Tensor], dict[str, str]], model: nn.Module) -> Guess:
    device = next(model.parameters()).device

    def guess(face: FacePrediction) -> dict[str, str]:
        pixels = torch.from_numpy(face.crop).permute(2, 0, 1).unsqueeze(0).to(device) / 255
        labels = classify(torch.cat([pixels, pixels.flip(-1)]))
        return {f"{attribute}_guess": label for attribute, label in labels.items()}

    return guess


def _by_prompts(estimator: AgeEstimator) -> Guess:
    def guess(face: FacePrediction) -> dict[str, str]:
        guesses = {}
        for attribute, texts in prompts(face.age).items():
            fits = estimator.similarity(face, [text for each in texts.values() for text in each])
            guesses[f"{attribute}_guess"] = max(
                texts, key=lambda label: sum(fits[text] for text in texts[label])
            )
        return guesses

    return guess


def accuracy(table: pd.DataFrame) -> dict[str, Any]:
    """Share of right guesses among the photos with a label, with Wilson's 95 % range: of gender, of race, and of race
    among the photos whose label is one that prompts can name."""
    if "gender_guess" not in table:
        return {}
    named = table[table["race"].isin(RACES)]
    parts = {
        "gender": (table, "gender"),
        "race": (table, "race"),
        "race, where prompts have a word": (named, "race"),
    }
    return {
        name: _share(rows, column) for name, (rows, column) in parts.items() if rows[column].notna().any()
    }


def _share(rows: pd.DataFrame, column: str) -> dict[str, Any]:
    known = rows[rows[column].notna()]
    right = (known[column] == known[f"{column}_guess"]).to_numpy(dtype=np.bool_)
    return {"count": len(right), "accuracy": float(right.mean()), "range": share_range(right, "wilson")}


def table(rows: dict[str, Any]) -> str:
    """One line per attribute, in Markdown."""
    lines = ["| attribute, as labelled | photos | right (95 % range) |", "|---|---|---|"]
    for name, row in rows.items():
        low, high = row["range"]
        lines.append(f"| {name} | {row['count']} | {row['accuracy']:.1%} ({low:.1%}–{high:.1%}) |")
    return "\n".join(lines)
