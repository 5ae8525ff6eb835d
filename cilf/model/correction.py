"""Reversible age estimation: an ensemble estimates the error of an age and the estimate is corrected until it is small.

METHOD 8.4 (error ensemble) and 8.5 (guarded loop). The forward map goes from image to age, the reverse map from an
age back to an error: implicit error, learned by the ensemble on photos the model never saw, and explicit error,
computed from the age prompts. A true age may appear when the ensemble is fitted, never in `correct`, which has no
argument for one.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.model.head import AgeEstimate
from cilf.prediction import Status, TraceStep

SMALLEST_STEP = 0.1  # years; a smaller step would not be seen


@dataclass(frozen=True)
class EnsembleConfig:
    """Sizes of the error ensemble: `members` networks of two hidden layers of `width`, on embeddings of `embed_dim`.

    `dropout` is used while it is fitted alone.
    """

    embed_dim: int
    members: int = 5
    width: int = 128
    dropout: float = 0.3
    max_age: float = 100.0


class ErrorEnsemble(nn.Module):
    """Estimates |true age − a| in years for any candidate age a of a face.

    Input of every member: fused embedding, the head's age, spread and entropy, and features of a (METHOD 8.4). All
    members are computed at once; the part of the first layer that does not depend on a is computed once per face.
    """

    FREQUENCIES = (1, 2, 4, 8)

    def __init__(self, config: EnsembleConfig) -> None:
        super().__init__()
        self.config = config
        summary, features = 3, 3 + 2 * len(self.FREQUENCIES)
        self.face_in = _MemberLinear(config.members, config.embed_dim + summary, config.width)
        self.age_in = _MemberLinear(config.members, features, config.width)
        self.hidden = _MemberLinear(config.members, config.width, config.width)
        self.out = _MemberLinear(config.members, config.width, 1)

    def forward(
        self,
        embedding: Float[Tensor, "batch embed"],
        estimate: AgeEstimate,
        ages: Float[Tensor, "batch candidate"],
    ) -> Float[Tensor, "member batch candidate"]:
        """Estimated errors in years, ≥ 0, of each candidate age."""
        summary = torch.stack([estimate.age / 100, estimate.spread / 10, estimate.entropy / 5], dim=1)
        embedding = self._drop(embedding * math.sqrt(embedding.shape[1]))  # each entry of about unit size
        face = self.face_in(torch.cat([embedding, summary], dim=1))
        batch, candidates = ages.shape
        age = self.age_in(self._age_features(ages, estimate.age).flatten(0, 1)).unflatten(
            1, (batch, candidates)
        )
        x = F.relu(face.unsqueeze(2) + age).flatten(1, 2)
        x = self.out(self._drop(F.relu(self.hidden(self._drop(x)))))
        return 10 * F.softplus(x.squeeze(-1)).unflatten(1, (batch, candidates))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, self.training)

    def _age_features(
        self, ages: Float[Tensor, "batch candidate"], age: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch candidate feature"]:
        unit = ages / self.config.max_age
        away = (ages - age.unsqueeze(1)) / 10
        waves = [
            wave(math.pi * frequency * unit)
            for frequency in self.FREQUENCIES
            for wave in (torch.sin, torch.cos)
        ]
        return torch.stack([unit, away, away.abs(), *waves], dim=-1)


class _MemberLinear(nn.Module):
    """One linear layer per member: (row, in) or (member, row, in) → (member, row, out)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


@dataclass(frozen=True)
class CorrectionConfig:
    """The calibrated rule of correction; every value is chosen on photos kept for choices.

    Attributes:
        epsilon: ε in years; an estimated error up to it is good enough.
        tether: λ, years of error that one year of distance from the present estimate counts for.
        mismatch: μ, years of error that the largest image-text mismatch counts for.
        mismatch_scale: nats of −log p above its minimum that count as the largest mismatch.
        caution: κ, standard deviations of the members' gains that a candidate must win by.
        margin: m, years of mean gain that a candidate must win by.
        max_iterations: candidates tried at most; 0 = never correct.
    """

    epsilon: float
    tether: float = 0.0
    mismatch: float = 0.0
    mismatch_scale: float = 1.0
    caution: float = 0.0
    margin: float = 0.0
    max_iterations: int = 5


@dataclass(frozen=True)
class Correction:
    """The corrected estimate of one face. `age` and `estimated_error` in years."""

    age: float
    estimated_error: float
    trace: tuple[TraceStep, ...]
    status: Status


def mismatch(logits: Float[Tensor, "batch age"], scale: float) -> Float[Tensor, "batch age"]:
    """Explicit image-text error of every age: −log p above its minimum, in units of `scale` nats, cut to [0, 1]."""
    surprise = -logits.log_softmax(dim=1)
    return ((surprise - surprise.min(dim=1, keepdim=True).values) / scale).clamp(max=1)


ErrorModel = Callable[[Tensor, AgeEstimate, Tensor], Tensor]
"""(embedding, estimate, candidate ages) → estimated errors, shapes as in `ErrorEnsemble.forward`."""


@torch.no_grad()
def correct(
    ensemble: ErrorModel,
    embedding: Float[Tensor, "batch embed"],
    estimate: AgeEstimate,
    config: CorrectionConfig,
) -> list[Correction]:
    """Correct each face's age (METHOD 8.5).

    From the present age aₜ the candidate is the age that minimises  mean error(a) + λ|a − aₜ| + μ·mismatch(a)  over all
    whole ages, refined by a parabola. It is taken only when the members' gain, error(aₜ) − error(a), has a mean that
    exceeds margin + κ standard deviations. Ends when the estimated error is at most ε, a candidate is refused, the step
    is under 0.1 year, or after `max_iterations`.
    """
    traces: list[list[TraceStep]] = [[] for _ in range(len(estimate.age))]
    for iteration, step in enumerate(_steps(ensemble, embedding, estimate, config)):
        values = (value.tolist() for value in (step.age, step.error, step.tried, step.taken))
        for trace, (age, error, tried, taken) in zip(traces, zip(*values, strict=True), strict=True):
            if tried:
                trace.append(TraceStep(iteration, age, error, taken))
    return [_finish(tuple(trace), config.epsilon) for trace in traces]


@torch.no_grad()
def corrected_ages(
    ensemble: ErrorModel,
    embedding: Float[Tensor, "batch embed"],
    estimate: AgeEstimate,
    config: CorrectionConfig,
) -> Float[Tensor, " batch"]:
    """The ages that `correct` ends with, without their story: for trying many rules on many faces."""
    age = estimate.age.float()
    for step in _steps(ensemble, embedding, estimate, config):
        age = torch.where(step.taken, step.age, age)
    return age


@dataclass(frozen=True)
class _Step:
    """One round of the loop for all faces: candidate ages and their mean estimated errors in years, whether a face was
    still being corrected, and whether it took the candidate."""

    age: Float[Tensor, " batch"]
    error: Float[Tensor, " batch"]
    tried: Bool[Tensor, " batch"]
    taken: Bool[Tensor, " batch"]


def _steps(
    ensemble: ErrorModel, embedding: Tensor, estimate: AgeEstimate, config: CorrectionConfig
) -> Iterator[_Step]:
    """The rounds of the loop, the first estimates before them."""
    count, num_ages = estimate.logits.shape
    grid = torch.arange(num_ages, dtype=torch.float32, device=embedding.device).expand(count, -1)
    age = estimate.age.float()
    errors = ensemble(embedding, estimate, age.unsqueeze(1))[..., 0]
    everyone = torch.ones_like(age, dtype=torch.bool)
    yield _Step(age, errors.mean(dim=0), everyone, everyone)
    active = errors.mean(dim=0) > config.epsilon
    if not config.max_iterations or not active.any():
        return
    energy = ensemble(embedding, estimate, grid).mean(dim=0)
    if config.mismatch:
        energy = energy + config.mismatch * mismatch(estimate.logits, config.mismatch_scale)
    for _ in range(config.max_iterations):
        candidate = _refined_minimum(energy + config.tether * (grid - age.unsqueeze(1)).abs())
        found = ensemble(embedding, estimate, candidate.unsqueeze(1))[..., 0]
        gain = errors - found
        won = gain.mean(dim=0) > config.margin + config.caution * gain.std(dim=0, correction=0)
        far = (candidate - age).abs() >= SMALLEST_STEP
        taken = active & won & far
        yield _Step(candidate, found.mean(dim=0), active, taken)
        age = torch.where(taken, candidate, age)
        errors = torch.where(taken, found, errors)
        active = taken & (errors.mean(dim=0) > config.epsilon)
        if not active.any():
            return


def _refined_minimum(cost: Float[Tensor, "batch age"]) -> Float[Tensor, " batch"]:
    """Age of the smallest cost among whole years, moved to the vertex of the parabola through its neighbours."""
    last = cost.shape[1] - 1
    best = cost.argmin(dim=1)
    inner = best.clamp(1, last - 1).unsqueeze(1)
    left, middle, right = (cost.gather(1, inner + offset).squeeze(1) for offset in (-1, 0, 1))
    curvature = left - 2 * middle + right
    shift = torch.where(curvature > 1e-6, 0.5 * (left - right) / curvature.clamp(min=1e-6), 0.0).clamp(
        -0.5, 0.5
    )
    at_edge = (best == 0) | (best == last)
    return torch.where(at_edge, best.float(), best + shift)


def _finish(trace: tuple[TraceStep, ...], epsilon: float) -> Correction:
    last = [step for step in trace if step.accepted][-1]
    if trace[0].estimated_error <= epsilon:
        status: Status = "accepted"
    else:
        status = "corrected" if last.estimated_error <= epsilon else "low_confidence"
    return Correction(last.age, last.estimated_error, trace, status)
