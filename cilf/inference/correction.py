"""Reversible age estimation: an ensemble estimates the error of an age, and where it is too large, more evidence is
sought until it is small.

METHOD 8.5 (guarded loop). The forward map goes from image to age, the reverse map from an age back to an error
(`cilf.inference.error_models`): implicit error, learned by the ensemble on photos the model never saw, and explicit
error, read from the mixture of the views' distributions. A true age may appear when the ensemble is fitted, never in
`correct`, which has no argument for one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from cilf.face.views import FIRST
from cilf.inference.evidence import Evidence, expected_gain
from cilf.inference.predictive import PredictiveConfig, whole_ages
from cilf.prediction import Status, TraceStep
from cilf.untrusted.bounds import Count, Factor, Number, NumberFromZero, Share

Array = np.ndarray

SMALLEST_STEP = 0.1  # years; a smaller step would not be seen


@dataclass(frozen=True)
class CorrectionConfig:
    """The calibrated rule of correction; every value is chosen on photos kept for choices.

    Attributes:
        epsilon: ε in years; an estimated error up to it is good enough.
        max_views: T, views of a face at most, its first crop among them; 1 = never correct.
        cost: years that one more view must be expected to take off the error.
        variance, weight: see `cilf.inference.evidence.expected_gain`.
        trust: how far the candidate lies from the mixture's age (0) towards the age at which the ensemble expects the
            smallest error (1).
        caution: κ, standard deviations of the members' gains that a candidate must win by.
        margin: m, years of mean gain that a candidate must win by.
    """

    epsilon: Number
    max_views: Count = 1
    cost: NumberFromZero = 0.0
    variance: NumberFromZero = 0.1
    weight: Factor = 2.0
    trust: Share = 0.0
    caution: NumberFromZero = 0.0
    margin: NumberFromZero = 0.0


@dataclass(frozen=True)
class Correction:
    """The corrected estimate of one face. `age` and `estimated_error` in years."""

    age: float
    estimated_error: float
    trace: tuple[TraceStep, ...]
    status: Status


ErrorModel = Callable[[Evidence, Array], Array]
"""(evidence, candidate ages) → estimated errors, shapes as in `ErrorEnsemble.__call__`."""

NextView = Callable[[int, list[int]], Evidence]
"""(number of the view, from 1; positions of the faces that ask for it) → what it shows, one row per face. The views
are those of the checkpoint, in their order; nothing is computed before it is asked for."""


def correct(
    errors: ErrorModel,
    first: Evidence,
    config: CorrectionConfig,
    predictive: PredictiveConfig,
    next_view: NextView,
    names: Sequence[str] = (),
) -> tuple[list[Correction], Evidence]:
    """Correct each face's age (METHOD 8.5), and give the evidence that it was corrected on.

    While the estimated error of the present age exceeds ε and one more view is expected to gain more than it costs, the
    face's next view is asked for and joins the evidence. The candidate lies between the mixture's age and the age that
    minimises the estimated error. It is taken only when the members' gain, error(present) − error(candidate) in the
    light of the same evidence, has a mean that exceeds margin + κ standard deviations.

    Args:
        errors: the error model.
        first: the evidence of the first crops.
        config: the rule.
        predictive: how views become distributions.
        next_view: shows further views.
        names: of the further views, for the trace.
    """
    traces: list[list[TraceStep]] = [[] for _ in range(len(first.age))]
    state = first
    for number, step in enumerate(_steps(errors, first, config, predictive, next_view)):
        state = step.evidence
        name = names[number - 1] if number and names else FIRST.name
        values = (value.tolist() for value in (step.age, step.error, step.kept, step.seen, step.taken))
        for trace, (age, error, kept, seen, taken) in zip(traces, zip(*values, strict=True), strict=True):
            if seen:
                trace.append(TraceStep(number, age, error, taken, name, kept))
    return [_finish(tuple(trace), config.epsilon) for trace in traces], state


def corrected_ages(
    errors: ErrorModel,
    first: Evidence,
    config: CorrectionConfig,
    predictive: PredictiveConfig,
    next_view: NextView,
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """The ages that `correct` ends with and how many views each took, without their story: for trying many rules."""
    age, views = first.age, first.views
    for step in _steps(errors, first, config, predictive, next_view):
        age, views = np.where(step.taken, step.age, age), step.evidence.views
    return age, views


@dataclass(frozen=True)
class _Step:
    """One round of the loop for all faces: candidate ages, their mean estimated errors and those of the ages so far in
    the light of the same evidence, all in years; whether a face had a new view, and whether it took the candidate."""

    age: Float[Array, " batch"]
    error: Float[Array, " batch"]
    kept: Float[Array, " batch"]
    seen: Bool[Array, " batch"]
    taken: Bool[Array, " batch"]
    evidence: Evidence


def _steps(
    errors: ErrorModel,
    evidence: Evidence,
    config: CorrectionConfig,
    predictive: PredictiveConfig,
    next_view: NextView,
) -> Iterator[_Step]:
    """The rounds of the loop, the first estimates before them."""
    age = evidence.age
    error = errors(evidence, age[:, None]).mean(axis=0)[:, 0]
    everyone = np.ones(len(age), dtype=bool)
    yield _Step(age, error, error, everyone, everyone, evidence)
    asking = everyone
    for number in range(1, config.max_views):
        gain = expected_gain(evidence, error, config.variance, config.weight)
        asking = asking & (error > config.epsilon) & (gain >= config.cost)
        if not asking.any():
            return
        index = np.flatnonzero(asking)
        rows = evidence.at(index).joined(next_view(number, index.tolist()), predictive)
        candidate, after, kept, won = _candidates(errors, rows, age[index], config)
        evidence = evidence.put(index, rows)
        taken = _put(np.zeros_like(asking), index, won)
        ages, errors_after, errors_kept = (
            _put(values, index, of_rows)
            for values, of_rows in ((age, candidate), (error, after), (error, kept))
        )
        yield _Step(ages, errors_after, errors_kept, asking, taken, evidence)
        age = np.where(taken, ages, age)
        error = np.where(taken, errors_after, errors_kept)


def _put(values: Array, index: Int[Array, " row"], rows: Array) -> Array:
    """A copy with the values at these positions replaced."""
    changed = values.copy()
    changed[index] = rows
    return changed


def _candidates(
    errors: ErrorModel, evidence: Evidence, age: Float[Array, " batch"], config: CorrectionConfig
) -> tuple[Array, Array, Array, Array]:
    """Candidate ages, their estimated errors, those of the present ages, and whether the candidates win."""
    candidate = evidence.age
    if config.trust:
        whole = np.tile(whole_ages(evidence.probabilities), (len(age), 1))
        best = _refined_minimum(errors(evidence, whole).mean(axis=0))
        candidate = candidate + np.float32(config.trust) * (best - candidate)
    pair = errors(evidence, np.stack([age, candidate], axis=1))
    gain = pair[..., 0] - pair[..., 1]
    won = gain.mean(axis=0) > config.margin + config.caution * gain.std(axis=0)
    kept, after = pair.mean(axis=0).T
    return candidate, after, kept, won & (np.abs(candidate - age) >= SMALLEST_STEP)


def _refined_minimum(cost: Float[Array, "batch age"]) -> Float[Array, " batch"]:
    """Age of the smallest cost among whole years, moved to the vertex of the parabola through its neighbours."""
    last = cost.shape[1] - 1
    best, rows = cost.argmin(axis=1), np.arange(len(cost))
    inner = best.clip(1, last - 1)
    left, middle, right = (cost[rows, inner + offset] for offset in (-1, 0, 1))
    curvature = left - 2 * middle + right
    shift = np.where(curvature > 1e-6, 0.5 * (left - right) / curvature.clip(1e-6), 0).clip(-0.5, 0.5)
    at_edge = (best == 0) | (best == last)
    return np.where(at_edge, best, best + shift).astype(cost.dtype)


def _finish(trace: tuple[TraceStep, ...], epsilon: float) -> Correction:
    age = [step for step in trace if step.accepted][-1].age
    error = trace[-1].estimated_error if trace[-1].accepted else trace[-1].kept_error
    if trace[0].estimated_error <= epsilon:
        status: Status = "accepted"
    else:
        status = "corrected" if error <= epsilon else "low_confidence"
    return Correction(age, error, trace, status)
