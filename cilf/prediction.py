"""What the estimator says about one face."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cilf.conformal import Answer, Conformal, ConformalConfig, Forecast, check_question
from cilf.errors import UsageError

Status = Literal["accepted", "corrected", "low_confidence"]

NoFace = Literal["skip", "whole"]
"""What to do with a photo without a face: nothing, or take the whole picture as the face."""

ADULT = 18  # years

WHOLE_PICTURE = "No face was detected; the age is that of the whole picture."
UNFAMILIAR = (
    "This picture is unlike the calibration photos: interval and answers may be wrong more often than stated."
)


@dataclass(frozen=True)
class TraceStep:
    """One step of the reversible correction (METHOD 8.5); step 0 is the initial estimate.

    Attributes:
        iteration: counts the further views from 1; 0 = the first crop.
        age: the candidate age in years that the evidence up to this view suggests.
        estimated_error: its estimated error in years.
        accepted: whether the candidate replaced the estimate so far.
        view: name of the view that was added (`cilf.face.views.View.name`).
        kept_error: estimated error in years of the estimate so far, in the light of the same evidence.
    """

    iteration: int
    age: float
    estimated_error: float
    accepted: bool
    view: str = "first crop"
    kept_error: float = 0.0


@dataclass(frozen=True, eq=False)
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
            `low_confidence` (still above it, or a picture without a face or unlike the calibration photos: see
            `caveat`).
        distribution: (K,) probabilities of the ages 0 to K − 1 (K is 101 for bundled weights), calibrated and after
            correction: what age, interval and `over` are read from.
        similarities: prompt -> cosine of the fused embedding and the prompt's text embedding, in [-1, 1]; empty from
            weights without a text tower.
        heatmap: (H, W) float32, how much each grid cell of the crop counts for the estimated age, in [0, 1].
        crop: (S, S, 3) uint8 RGB, the aligned face that the model saw first.
        embedding: (D,) float32 unit vector, the image embedding of the crop (CILF's fused one); kept so that prompts
            can be re-scored.
        further_crops: of (S, S, 3) uint8 RGB, the further views in the order of the trace.
        familiar: whether the picture is like the photos that the estimates were calibrated on; if not, the calibration
            of `interval` and `over` does not hold, and the interval is made wider.
        conformal: the checkpoint's calibration of `interval_at` and `over`.
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
    further_crops: tuple[np.ndarray, ...] = field(default=(), repr=False)
    familiar: bool = True
    conformal: Conformal = field(default=ConformalConfig(), repr=False)

    @property
    def iterations(self) -> int:
        """Number of further views that the correction took; 0 when the initial estimate was accepted at once."""
        return len(self.trace) - 1

    @property
    def estimated_error(self) -> float:
        """Estimated error of `age`, in years."""
        last = self.trace[-1]
        return last.estimated_error if last.accepted else last.kept_error

    @property
    def caveat(self) -> str:
        """Why the calibration of `interval` and `over` does not hold, in a sentence; empty where it holds."""
        if self.detection_score is None:
            return WHOLE_PICTURE
        return "" if self.familiar else UNFAMILIAR

    def interval_at(self, coverage: float) -> tuple[float, float]:
        """Low and high age in years of the conformal interval that holds a share of `coverage`, in (0, 1), of the true
        ages. Checkpoints of format cilf-3 know their own coverage alone.

        Raises:
            UsageError: `coverage` is no share between 0 and 1, or one that these weights do not know.
        """
        if not 0 < coverage < 1:
            raise UsageError(f"the coverage is {coverage}; give a share between 0 and 1, such as 0.9")
        return self.conformal.interval(self._forecast, coverage)

    def over(self, limit: float, confidence: float = 0.95) -> Answer:
        """Whether the person has reached an age: "yes", "no" or "unsure" (see `cilf.conformal`).

        Always "unsure" where there is a `caveat`.

        Args:
            limit: years.
            confidence: in [0.5, 1). Of the people under the limit at most a share of 1 − confidence gets "yes", of the
                others at most as many "no", as far as they are like those of the calibration photos.

        Raises:
            UsageError: an argument is out of range.
        """
        check_question(limit, confidence)
        if self.caveat:
            return "unsure"
        return self.conformal.answer(self._forecast, limit, confidence)

    @property
    def _forecast(self) -> Forecast:
        return Forecast(self.distribution, self.age, self.estimated_error)
