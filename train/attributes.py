"""How well a system tells gender and race, for `evaluate` alone: nothing that a visitor sees asks for either.

MTMSA has heads for both. CILF has none; it is asked which of a few prompts fits a face best, in words that its captions
held. The truth is the data set's label, which other people or programs gave.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch

from cilf.estimator import AgeEstimator
from cilf.mtmsa import MTMSA
from cilf.prediction import FacePrediction
from cilf.weights import Checkpoint
from train.metrics import share_range

Guess = Callable[[FacePrediction], dict[str, str]]
"""A face → `gender_guess` and `race_guess`, in the words of the labels."""

PROMPTS = {
    "gender": {"male": "a photo of a male person", "female": "a photo of a female person"},
    "race": {  # captions have no word for other labels, such as "other" or "east asian"
        "white": "a photo of a white person",
        "black": "a photo of a black person",
        "asian": "a photo of an asian person",
        "indian": "a photo of an indian person",
    },
}


def guesser(checkpoint: Checkpoint, estimator: AgeEstimator) -> Guess:
    """How these weights guess; `estimator` was made from `checkpoint`."""
    model = checkpoint.model
    return _by_heads(model) if isinstance(model, MTMSA) else _by_prompts(estimator)


def _by_heads(model: MTMSA) -> Guess:
    @torch.inference_mode()
    def guess(face: FacePrediction) -> dict[str, str]:
        pixels = torch.from_numpy(face.crop).permute(2, 0, 1).unsqueeze(0).to(model.mean) / 255
        found = model(torch.cat([pixels, pixels.flip(-1)]))
        config = model.config
        return {
            "gender_guess": config.genders[int(found.gender.mean(dim=0).argmax())],
            "race_guess": config.races[int(found.race.mean(dim=0).argmax())],
        }

    return guess


def _by_prompts(estimator: AgeEstimator) -> Guess:
    def guess(face: FacePrediction) -> dict[str, str]:
        found = {}
        for attribute, prompts in PROMPTS.items():
            fits = estimator.similarity(face, list(prompts.values()))
            found[f"{attribute}_guess"] = max(prompts, key=lambda word: fits[prompts[word]])
        return found

    return guess


def accuracy(table: pd.DataFrame) -> dict[str, Any]:
    """Share of right guesses among the photos with a label, with Wilson's 95 % range: of gender, of race, and of race
    among the photos whose label is one that prompts can name."""
    named = table[table["race"].isin(PROMPTS["race"])]
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


def table(found: dict[str, Any]) -> str:
    """One line per attribute, in Markdown."""
    lines = ["| attribute, as labelled | photos | right (95 % range) |", "|---|---|---|"]
    for name, row in found.items():
        low, high = row["range"]
        lines.append(f"| {name} | {row['count']} | {row['accuracy']:.1%} ({low:.1%}–{high:.1%}) |")
    return "\n".join(lines)
