"""The two portraits, as they are and changed, against the page's opposites: the end that the captions' rules find on
the photo has the longer bar."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from cilf.demo.photo.prompt_presets import PAIRS
from cilf.estimator import AgeEstimator
from cilf.face.finder import FaceFinder, align
from cilf.similarity.scores import prompt_scores
from train.data.attributes import MESH, PIXEL
from train.data.face_mesh import FaceMesh, FaceMeshError, mesh_attributes
from train.data.photo_attributes import LUMA, photo_attributes

# End of one of `PAIRS` → what it says of an attribute: 1 clearly there, −1 clearly not.
ENDS = {
    "smiling": ("smiling", 1),
    "serious": ("smiling", -1),
    "mouth open": ("mouth_open", 1),
    "mouth closed": ("mouth_open", -1),
    "looking left": ("turned_left", 1),
    "looking right": ("turned_right", 1),
    "looking up": ("looking_up", 1),
    "looking down": ("looking_down", 1),
    "bright": ("bright", 1),
    "dark": ("dark", 1),
    "warm light": ("warm", 1),
    "cold light": ("cold", 1),
    "lit from the left": ("lit_from_left", 1),
    "lit from the right": ("lit_from_right", 1),
    "strong contrast": ("strong_contrast", 1),
    "low contrast": ("low_contrast", 1),
    "black and white": ("black_and_white", 1),
    "colour": ("black_and_white", -1),
    "sharp": ("sharp", 1),
    "blurry": ("blurry", 1),
    "noisy": ("grainy", 1),
    "low noise": ("grainy", -1),
    "vivid colours": ("vivid", 1),
    "muted colours": ("vivid", -1),
}

AS_THEY_ARE = {
    "grace_hopper": {"serious", "mouth closed", "colour", "noisy"},
    "eileen_collins": {"smiling", "mouth open", "colour", "low noise", "muted colours"},
}


def grey(photo: np.ndarray) -> np.ndarray:
    return (photo @ np.array(LUMA))[..., None]


def lit(photo: np.ndarray, left: float, right: float, sign: int) -> np.ndarray:
    """Dimmed to a quarter across the face, whose edges are given in pixels, on its right (1) or left (-1)."""
    across = sign * (np.arange(photo.shape[1]) - (left + right) / 2) / (0.12 * (right - left))
    return photo * (0.25 + 0.75 / (1 + np.exp(across)))[None, :, None]


# An end → what gives it to a photo with values in [0, 255].
CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dark": lambda photo: 0.4 * photo,
    "bright": lambda photo: 255 - 0.35 * (255 - photo),
    "warm light": lambda photo: photo * np.array([1.25, 1.0, 0.45]),
    "cold light": lambda photo: photo * np.array([0.6, 0.9, 1.7]),
    "low contrast": lambda photo: 128 + 0.3 * (photo - 128),
    "black and white": lambda photo: grey(photo).repeat(3, axis=2),
    "vivid colours": lambda photo: grey(photo) + 2.2 * (photo - grey(photo)),
    "noisy": lambda photo: photo + np.random.default_rng(0).normal(0, 22, photo.shape),
}
SIDES = {"lit from the left": 1, "lit from the right": -1}


@pytest.fixture(scope="module")
def estimator() -> AgeEstimator:
    return AgeEstimator.from_pretrained()


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    try:
        return FaceMesh()
    except FaceMeshError as error:
        pytest.skip(str(error))


def largest(faces: Sequence[Any]) -> Any:
    return max(faces, key=lambda face: face.box[2] - face.box[0])


def measured_ends(photo: np.ndarray, finder: FaceFinder, mesh: FaceMesh) -> set[str]:
    """Ends that the rules find clearly on the aligned crop of the largest face."""
    crop = align(photo, largest(finder.find(photo)), 128)
    pixels = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None] / 255
    table = dict(zip(PIXEL, photo_attributes(pixels)[0].tolist(), strict=True))
    table |= zip(MESH, mesh_attributes([mesh.measure(crop, 0)])[0].tolist(), strict=True)
    return {end for end, (attribute, value) in ENDS.items() if table[attribute] == value}


def shorter_bars(estimator: AgeEstimator, photo: np.ndarray, measured: set[str]) -> list[str]:
    """Of the measured ends, those whose opposite has the longer bar."""
    face = largest(estimator.predict(photo))
    wrong = []
    for pair in [pair for pairs in PAIRS.values() for pair in pairs]:
        first, second = (score.above_neutral for score in prompt_scores(estimator, face, pair[2:]))
        shorter = pair.second if first > second else pair.first
        if shorter in measured:
            wrong.append(shorter)
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("portrait", AS_THEY_ARE)
def test_the_measured_end_has_the_longer_bar(
    portrait: str, estimator: AgeEstimator, finder: FaceFinder, mesh: FaceMesh, request: pytest.FixtureRequest
) -> None:
    photo: np.ndarray = request.getfixturevalue(portrait)
    measured = measured_ends(photo, finder, mesh)
    assert measured == AS_THEY_ARE[portrait]
    assert shorter_bars(estimator, photo, measured) == []


@pytest.mark.slow
@pytest.mark.parametrize("portrait", AS_THEY_ARE)
@pytest.mark.parametrize("change", [*CHANGES, *SIDES])
def test_a_changed_portrait_has_the_longer_bar_where_it_was_changed(
    change: str,
    portrait: str,
    estimator: AgeEstimator,
    finder: FaceFinder,
    mesh: FaceMesh,
    request: pytest.FixtureRequest,
) -> None:
    photo: np.ndarray = request.getfixturevalue(portrait)
    left, _, right, _ = largest(finder.find(photo)).box
    whole = photo.astype(float)
    changed = CHANGES[change](whole) if change in CHANGES else lit(whole, left, right, SIDES[change])
    photo = np.clip(changed, 0, 255).astype(np.uint8)
    measured = measured_ends(photo, finder, mesh)
    assert change in measured
    assert change not in shorter_bars(estimator, photo, measured)


def test_every_preset_with_opposites_has_a_measured_end() -> None:
    for pairs in PAIRS.values():
        assert {end for pair in pairs for end in pair[:2]} & set(CHANGES).union(SIDES, *AS_THEY_ARE.values())
        assert {end for pair in pairs for end in pair[:2]} <= set(ENDS)
