"""The two portraits against the page's opposites: the end that is measured on the photo has the longer bar."""

import numpy as np
import pytest

from cilf.demo.photo.prompt_presets import PAIRS, Pair
from cilf.estimator import AgeEstimator
from cilf.similarity.scores import prompt_scores

# Ends of `PAIRS` that the rules of `train.data.face_mesh` and `train.data.photo_attributes` find clearly on the aligned
# crops; where neither end of a pair stands here, neither was clear.
MEASURED = {
    "grace_hopper": {"serious", "mouth closed", "colour", "grainy"},
    "eileen_collins": {"smiling", "mouth open", "colour", "clean", "muted colours"},
}


def clear_pairs(portrait: str) -> list[Pair]:
    pairs = [pair for pairs in PAIRS.values() for pair in pairs]
    return [pair for pair in pairs if MEASURED[portrait] & {pair.first, pair.second}]


@pytest.fixture(scope="module")
def estimator() -> AgeEstimator:
    return AgeEstimator.from_pretrained()


@pytest.mark.parametrize("portrait", MEASURED)
def test_the_measured_end_has_the_longer_bar(
    portrait: str, estimator: AgeEstimator, request: pytest.FixtureRequest
) -> None:
    photo: np.ndarray = request.getfixturevalue(portrait)
    [face] = estimator.predict(photo)
    wrong = []
    for pair in clear_pairs(portrait):
        first, second = prompt_scores(estimator, face, pair[2:])
        longer = pair.first if first.above_neutral > second.above_neutral else pair.second
        if longer not in MEASURED[portrait]:
            wrong.append((pair.first, pair.second, round(first.above_neutral - second.above_neutral, 3)))
    assert wrong == []
