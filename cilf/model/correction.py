"""Reversible age estimation: an ensemble estimates the error of an age, and where it is too large, more evidence is
sought until it is small.

METHOD 8.4 (error ensemble) and 8.5 (guarded loop). The forward map goes from image to age, the reverse map from an
age back to an error: implicit error, learned by the ensemble on photos the model never saw, and explicit error, read
from the mixture of the views' distributions. A true age may appear when the ensemble is fitted, never in `correct`,
which has no argument for one.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.face.views import FIRST
from cilf.model.evidence import SUMMARY, Evidence, expected_gain
from cilf.model.predictive import PredictiveConfig, expected_deviation
from cilf.prediction import Status, TraceStep
from cilf.untrusted.bounds import Count, Factor, Number, Share, Width

SMALLEST_STEP = 0.1  # years; a smaller step would not be seen


@dataclass(frozen=True)
class EnsembleConfig:
    """Sizes of the error ensemble: `members` networks of two hidden layers of `width`, on embeddings of `embed_dim`.

    `dropout` is used while it is fitted alone. With `explicit` the members learn what the explicit error leaves over,
    without it the whole error, as in checkpoints of format cilf-3. `levels` are factors of the estimated errors after
    1, 2, … views, so that their mean is that of real errors; 1 where there are none.
    """

    embed_dim: Width
    members: Count = 5
    width: Width = 32
    dropout: Share = 0.3
    max_age: Factor = 100.0
    explicit: bool = True
    levels: Annotated[tuple[Factor, ...], Field(max_length=64)] = ()


class ErrorEnsemble(nn.Module):
    """Estimates |true age − a| in years for any candidate age a of a face.

    Input of every member: mean embedding, the evidence's summary, and features of a (METHOD 8.4). All members are
    computed at once; the part of the first layer that does not depend on a is computed once per face.
    """

    FREQUENCIES = (1, 2, 4, 8)
    FEATURES = 3 + 2 * len(FREQUENCIES) + 2

    def __init__(self, config: EnsembleConfig) -> None:
        super().__init__()
        self.config = config
        self.face_in = _MemberLinear(config.members, config.embed_dim + SUMMARY, config.width)
        self.age_in = _MemberLinear(config.members, self.FEATURES, config.width)
        self.hidden = _MemberLinear(config.members, config.width, config.width)
        self.out = _MemberLinear(config.members, config.width, 1)

    def forward(
        self, evidence: Evidence, ages: Float[Tensor, "batch candidate"]
    ) -> Float[Tensor, "member batch candidate"]:
        """Estimated errors in years, ≥ 0, of each candidate age."""
        embedding = self._drop(
            evidence.embedding * math.sqrt(evidence.embedding.shape[1])
        )  # of about unit size
        face = self.face_in(torch.cat([embedding, evidence.summary()], dim=1))
        explicit = expected_deviation(evidence.probabilities, ages) / 10
        features = self._age_features(evidence, ages, explicit)
        age = self.age_in(features.flatten(0, 1)).unflatten(1, ages.shape)
        x = F.relu(face.unsqueeze(2) + age).flatten(1, 2)
        x = self.out(self._drop(F.relu(self.hidden(self._drop(x)))))
        x = x.squeeze(-1).unflatten(1, ages.shape)
        if self.config.explicit:
            x = x + torch.expm1(explicit.clamp(min=1e-3)).log()  # the inverse of softplus
        return 10 * F.softplus(x) * self._level(evidence.views).view(1, -1, 1)

    def _level(self, views: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        if not self.config.levels:
            return torch.ones_like(views)
        number = (views.long() - 1).clamp(max=len(self.config.levels) - 1)
        return torch.tensor(self.config.levels, device=views.device)[number]

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, self.training)

    def _age_features(
        self, evidence: Evidence, ages: Float[Tensor, "batch candidate"], explicit: Tensor
    ) -> Float[Tensor, "batch candidate feature"]:
        unit = ages / self.config.max_age
        away = (ages - evidence.age.unsqueeze(1)) / 10
        waves = [
            wave(math.pi * frequency * unit)
            for frequency in self.FREQUENCIES
            for wave in (torch.sin, torch.cos)
        ]
        surprise = _surprise(evidence.probabilities, ages) / 5
        return torch.stack([unit, away, away.abs(), *waves, explicit, surprise], dim=-1)


def _surprise(
    probabilities: Float[Tensor, "batch age"], ages: Float[Tensor, "batch candidate"]
) -> Float[Tensor, "batch candidate"]:
    """−log p(a) in nats, linear between whole ages: the mismatch of image and the text of that age (METHOD 8.3)."""
    surprise = -probabilities.clamp(min=1e-6).log()
    low = ages.floor().long().clamp(0, probabilities.shape[1] - 2)
    return surprise.gather(1, low).lerp(surprise.gather(1, low + 1), (ages - low).clamp(0, 1))


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
        max_views: T, views of a face at most, its first crop among them; 1 = never correct.
        cost: years that one more view must be expected to take off the error.
        variance, weight: see `cilf.model.evidence.expected_gain`.
        trust: how far the candidate lies from the mixture's age (0) towards the age at which the ensemble expects the
            smallest error (1).
        caution: κ, standard deviations of the members' gains that a candidate must win by.
        margin: m, years of mean gain that a candidate must win by.
    """

    epsilon: Number
    max_views: Count = 1
    cost: Number = 0.0
    variance: Number = 0.1
    weight: Number = 2.0
    trust: Share = 0.0
    caution: Number = 0.0
    margin: Number = 0.0


@dataclass(frozen=True)
class Correction:
    """The corrected estimate of one face. `age` and `estimated_error` in years."""

    age: float
    estimated_error: float
    trace: tuple[TraceStep, ...]
    status: Status


ErrorModel = Callable[[Evidence, Tensor], Tensor]
"""(evidence, candidate ages) → estimated errors, shapes as in `ErrorEnsemble.forward`."""

NextView = Callable[[int, list[int]], Evidence]
"""(number of the view, from 1; positions of the faces that ask for it) → what it shows, one row per face. The views
are those of the checkpoint, in their order; nothing is computed before it is asked for."""


@torch.no_grad()
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


@torch.no_grad()
def corrected_ages(
    errors: ErrorModel,
    first: Evidence,
    config: CorrectionConfig,
    predictive: PredictiveConfig,
    next_view: NextView,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """The ages that `correct` ends with and how many views each took, without their story: for trying many rules."""
    age, views = first.age.float(), first.views
    for step in _steps(errors, first, config, predictive, next_view):
        age, views = torch.where(step.taken, step.age, age), step.evidence.views
    return age, views


@dataclass(frozen=True)
class _Step:
    """One round of the loop for all faces: candidate ages, their mean estimated errors and those of the ages so far in
    the light of the same evidence, all in years; whether a face had a new view, and whether it took the candidate."""

    age: Float[Tensor, " batch"]
    error: Float[Tensor, " batch"]
    kept: Float[Tensor, " batch"]
    seen: Bool[Tensor, " batch"]
    taken: Bool[Tensor, " batch"]
    evidence: Evidence


def _steps(
    errors: ErrorModel,
    evidence: Evidence,
    config: CorrectionConfig,
    predictive: PredictiveConfig,
    next_view: NextView,
) -> Iterator[_Step]:
    """The rounds of the loop, the first estimates before them."""
    age = evidence.age.float()
    error = errors(evidence, age.unsqueeze(1)).mean(dim=0)[:, 0]
    everyone = torch.ones_like(age, dtype=torch.bool)
    yield _Step(age, error, error, everyone, everyone, evidence)
    asking = everyone
    for number in range(1, config.max_views):
        gain = expected_gain(evidence, error, config.variance, config.weight)
        asking = asking & (error > config.epsilon) & (gain >= config.cost)
        if not asking.any():
            return
        index = asking.nonzero()[:, 0]
        rows = evidence.at(index).joined(next_view(number, index.tolist()), predictive)
        candidate, after, kept, won = _candidates(errors, rows, age[index], config)
        evidence = evidence.put(index, rows)
        taken = torch.zeros_like(asking).index_put((index,), won)
        step = _Step(
            age.index_put((index,), candidate),
            error.index_put((index,), after),
            error.index_put((index,), kept),
            asking,
            taken,
            evidence,
        )
        yield step
        age = torch.where(taken, step.age, age)
        error = torch.where(taken, step.error, step.kept)


def _candidates(
    errors: ErrorModel, evidence: Evidence, age: Float[Tensor, " batch"], config: CorrectionConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Candidate ages, their estimated errors, those of the present ages, and whether the candidates win."""
    candidate = evidence.age
    if config.trust:
        whole = torch.arange(evidence.probabilities.shape[1], dtype=torch.float32, device=age.device)
        energy = errors(evidence, whole.expand(len(age), -1)).mean(dim=0)
        candidate = candidate.lerp(_refined_minimum(energy), config.trust)
    pair = errors(evidence, torch.stack([age, candidate], dim=1))
    gain = pair[..., 0] - pair[..., 1]
    won = gain.mean(dim=0) > config.margin + config.caution * gain.std(dim=0, correction=0)
    kept, after = pair.mean(dim=0).unbind(dim=1)
    return candidate, after, kept, won & ((candidate - age).abs() >= SMALLEST_STEP)


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
    age = [step for step in trace if step.accepted][-1].age
    error = trace[-1].estimated_error if trace[-1].accepted else trace[-1].kept_error
    if trace[0].estimated_error <= epsilon:
        status: Status = "accepted"
    else:
        status = "corrected" if error <= epsilon else "low_confidence"
    return Correction(age, error, trace, status)
