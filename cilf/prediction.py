"""What the estimator says about one face."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cilf.decision import Answer, DecisionConfig

Status = Literal["accepted", "corrected", "low_confidence"]

NoFace = Literal["skip", "whole"]
"""What to do with a photo without a face: nothing, or take the whole picture as the face."""


@dataclass(frozen=True)
class TraceStep:
    """One step of the reversible correction (METHOD 8.5); step 0 is the initial estimate.

    `age` and `estimated_error` are in years; `accepted` says whether the candidate replaced the estimate so far.
    """

    iteration: int
    age: float
    estimated_error: float
    accepted: bool


@dataclass(frozen=True)
class FacePrediction:
    """The estimate for one face.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the upright photo.
        detection_score: the detector's confidence in (0, 1]; None when the whole picture was taken as the face.
        age: years, unrounded, after correction.
        interval: low and high age in years of the conformal interval round `age`.
        initial_age: years, before correction.
        trace: every step of the correction, the initial estimate first.
        status: `accepted` (first estimated error at or under the threshold), `corrected` (brought under it) or
            `low_confidence` (still above it).
        distribution: (101,) probabilities of the ages 0 to 100, from the age head.
        similarities: prompt -> cosine of the fused embedding and the prompt's text embedding, in [-1, 1]; empty from
            weights without a text tower.
        heatmap: (H, W) float32, how much each grid cell of the crop counts for the estimated age, in [0, 1].
        crop: (S, S, 3) uint8 RGB, the aligned face that the model saw.
        embedding: (D,) float32 unit vector, the image embedding (CILF's fused one); kept so that prompts can be
            re-scored.
        decision: the checkpoint's calibration of `over`.
    """

    box: tuple[float, float, float, float]
    detection_score: float | None
    age: float
    interval: tuple[float, float]
    initial_age: float
    trace: tuple[TraceStep, ...]
    status: Status
    distribution: np.ndarray = field(repr=False)
    similarities: dict[str, float]
    heatmap: np.ndarray = field(repr=False)
    crop: np.ndarray = field(repr=False)
    embedding: np.ndarray = field(repr=False)
    decision: DecisionConfig = field(default=DecisionConfig(), repr=False)

    @property
    def iterations(self) -> int:
        """Number of candidate ages that the correction tried; 0 when the initial estimate was accepted at once."""
        return len(self.trace) - 1

    def over(self, limit: float, confidence: float = 0.95) -> Answer:
        """Whether the person has reached an age: "yes", "no" or "unsure" (see `cilf.decision`).

        Args:
            limit: years.
            confidence: in [0.5, 1). Of the people under the limit at most a share of 1 − confidence gets "yes", of the
                others at most as many "no", as far as they are like those of the calibration photos.

        Raises:
            UsageError: an argument is out of range.
        """
        return self.decision.answer(self.age, limit, confidence)
