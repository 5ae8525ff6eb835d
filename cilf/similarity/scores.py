"""How well prompts fit a face, for the page, its endpoints and the command line alike.

A cosine by itself says little: every text lies near every face. So each prompt is measured against `NEUTRAL`, which is
true of all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from cilf.prediction import FacePrediction
from cilf.texts import distinct_texts

NEUTRAL = "a photo of a person"

# So many prompts with unknown words are offered known ones: that takes some milliseconds a word.
HELPED = 10


@dataclass(frozen=True)
class PromptScore:
    """One prompt and one face.

    Attributes:
        prompt: the text.
        similarity: cosine of the face's and the text's embedding, in [-1, 1].
        above_neutral: by how much the cosine is above that of `NEUTRAL`; above 0 the prompt fits better than that.
        share: softmax over the prompts that were scored together, in [0, 1].
        nearest_words: word that the text tower does not know → known words that are written much like it, none after
            the first `HELPED` prompts with such words.
        scored_by: which text tower.
    """

    prompt: str
    similarity: float
    above_neutral: float
    share: float
    nearest_words: dict[str, list[str]]
    scored_by: str

    def record(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


@runtime_checkable
class ComparesTexts(Protocol):
    """What scoring needs of `cilf.AgeEstimator`."""

    @property
    def scored_by(self) -> str:
        """Which text tower compares."""

    def comparer(self, prompts: Sequence[str]) -> Callable[[FacePrediction], dict[str, float]]:
        """Face → prompt → cosine."""

    def softmax(self, similarities: dict[str, float]) -> dict[str, float]:
        """Prompt → share."""

    def unknown_words(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        """Prompt → unknown words."""

    def nearest_words(self, prompts: Sequence[str]) -> dict[str, dict[str, list[str]]]:
        """Prompt → unknown word → known words."""


class PromptScorer:
    """Scores the same prompts for face after face; the texts are encoded once.

    Args:
        estimator: compares.
        prompts: texts, of which each is scored once.

    Raises:
        UsageError: the prompts cannot be compared (`AgeEstimator.similarity`).
    """

    def __init__(self, estimator: ComparesTexts, prompts: Sequence[str]) -> None:
        self._estimator = estimator
        self._compare, self._compare_neutral = estimator.comparer(prompts), estimator.comparer([NEUTRAL])
        self._nearest = _nearest_words(estimator, distinct_texts(prompts))

    def scores(self, face: FacePrediction) -> list[PromptScore]:
        """The prompts' scores, in their order."""
        similarities, neutral = self._compare(face), self._compare_neutral(face)[NEUTRAL]
        shares, scored_by = self._estimator.softmax(similarities), self._estimator.scored_by
        return [
            PromptScore(prompt, similarity, similarity - neutral, shares[prompt], nearest, scored_by)
            for (prompt, similarity), nearest in zip(similarities.items(), self._nearest, strict=True)
        ]


def prompt_scores(
    estimator: ComparesTexts, face: FacePrediction, prompts: Sequence[str]
) -> list[PromptScore]:
    """The scores of one face; see `PromptScorer`."""
    return PromptScorer(estimator, prompts).scores(face)


def _nearest_words(estimator: ComparesTexts, prompts: list[str]) -> list[dict[str, list[str]]]:
    unknown = estimator.unknown_words(prompts)
    helped = estimator.nearest_words(list(unknown)[:HELPED]) if unknown else {}
    return [helped.get(prompt) or {word: [] for word in unknown.get(prompt, ())} for prompt in prompts]
