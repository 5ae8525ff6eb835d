"""The one door for users: a photo in, one `FacePrediction` per face out."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

from cilf.checkpoint import Checkpoint, load
from cilf.conformal import Forecast
from cilf.errors import UsageError, WeightsError
from cilf.face.finder import Face, FaceFinder, whole_picture
from cilf.face.images import open_photo
from cilf.face.pyramid import Pyramid
from cilf.face.views import FIRST, crop_views
from cilf.hub import Progress
from cilf.model.base import Description
from cilf.model.cilf import CILF
from cilf.model.correction import correct
from cilf.model.evidence import Evidence, evidence, join
from cilf.model.familiarity import flattened
from cilf.model.onnx_runtime import network
from cilf.model.predictive import moved
from cilf.prediction import FacePrediction, NoFace
from cilf.texts import distinct_texts
from cilf.untrusted.trial import require_success

NO_TEXTS = "these weights compare no texts with faces: they have no text tower; load weights of CILF for that"

log = logging.getLogger(__name__)

TOLERANCE = 1e-3  # years, by which rounding may carry an age out of the range
BATCH = 16  # crops at once; bounds the memory that a group photo takes

Work = Callable[..., Any]


def _as_it_is(work: Work) -> Work:
    return work


class AgeEstimator:
    """Estimates the ages of the faces in photos. Make one with `from_pretrained`; it may be shared between threads.

    It takes over the checkpoint that it is given: its network is changed for inference and can be saved no more.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        finder: FaceFinder | None = None,
        device: str = "cpu",
        *,
        max_faces: int | None = None,
        on_device: Callable[[Work], Work] = _as_it_is,
    ) -> None:
        self._device = _device(device)
        self._checkpoint = checkpoint
        # Before the move, since a device that is only lent is not there yet.
        with torch.inference_mode():
            self._age_text = checkpoint.model.encode_ages().to(self._device)
        self._prompted = checkpoint.model if isinstance(checkpoint.model, CILF) else None
        self._scale = self._prompted.scale.item() if self._prompted else 1.0
        self._image_size = checkpoint.model.image_size
        self._network = network(
            checkpoint.model, checkpoint.graph, self._device, mirror=checkpoint.config.mirror
        )
        self._ensemble = checkpoint.ensemble
        self._finder = finder or FaceFinder()
        self._max_faces = max_faces
        self._describe, self._score = on_device(self._describe_here), on_device(self._score_here)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        *,
        revision: str | None = None,
        device: str = "cpu",
        max_faces: int | None = None,
        on_device: Callable[[Work], Work] = _as_it_is,
        progress: Progress | None = None,
    ) -> "AgeEstimator":
        """Load a model.

        Args:
            source: None for the bundled weights of CILF, "mtmsa" for the bundled ones of MTMSA, a folder, or
                `user/repository` on the Hugging Face Hub.
            revision: branch, tag or commit of a Hub repository.
            device: where the model computes, as PyTorch names it.
            max_faces: of each photo keep only so many faces, the largest ones, where `predict` is not told otherwise.
            on_device: wraps the functions that compute on the device, for a host that lends its device for one call at
                a time, in a process of its own; their arguments and results can be pickled.
            progress: told the bytes downloaded from the Hub so far and in all; None draws a bar where stderr is a
                terminal.

        Raises:
            WeightsError: the weights cannot be loaded; or they are not bundled, and fail in a trial of their own
                (`cilf.untrusted.trial`), which takes a few seconds.
            DetectorError: OpenCV or the face detector cannot be loaded.
            UsageError: PyTorch does not have the device.
        """
        checkpoint = load(source, revision=revision, progress=progress)
        if checkpoint.untried:
            require_success(checkpoint.untried)
        return cls(checkpoint, FaceFinder(), device, max_faces=max_faces, on_device=on_device)

    @property
    def source(self) -> str:
        """What is loaded and from where, in words."""
        return self._checkpoint.source

    @property
    def sha256(self) -> str:
        """Of the weights file: which weights exactly."""
        return self._checkpoint.config.sha256

    @property
    def graph_sha256(self) -> str | None:
        """Of the graph's file that belongs to the weights; None where none does."""
        graph = self._checkpoint.config.graph
        return graph.sha256 if graph else None

    @property
    def kind(self) -> str:
        """Which system the weights are of: the name of its family (`cilf.model.registry`)."""
        return self._checkpoint.config.model.kind

    @property
    def compares_texts(self) -> bool:
        """Whether faces can be compared with prompts."""
        return self._prompted is not None

    @property
    def epsilon(self) -> float:
        """Threshold of the correction, in years of estimated error."""
        return self._checkpoint.config.correction.epsilon

    @property
    def report(self) -> dict[str, Any] | None:
        """The evaluation report that lies beside the weights."""
        return self._checkpoint.report

    @property
    def card(self) -> str:
        """The model card that lies beside the weights, as Markdown; empty where there is none."""
        return self._checkpoint.card

    def predict(
        self,
        photo: str | Path | Any,
        prompts: Sequence[str] | None = None,
        *,
        no_face: NoFace = "skip",
        tiles: bool = True,
        max_faces: int | None = None,
        max_views: int | None = None,
    ) -> list[FacePrediction]:
        """Estimate the age of every face.

        Args:
            photo: a path, a PIL image, or an HxWx3 uint8 RGB array.
            prompts: at most 100 texts of at most 120 letters to compare with each face; None compares with none, and so
                do weights without a text tower (`compares_texts`), whatever is given.
            no_face: what to do with a photo without a face: give no prediction, or take the whole picture as the face.
            tiles: look for small faces too; without it the detector takes a few milliseconds.
            max_faces: keep only so many, the largest ones; None keeps as many as the estimator was made for.
            max_views: so many views of a face at most, the first crop among them; None takes as many as the checkpoint
                finds worth their time, and 1 never corrects. In a live picture the next frames are the further views.

        Returns:
            One prediction per face, left to right.

        Raises:
            PhotoError: the photo cannot be read, or is too thin to be taken as a face.
            UsageError: an argument has a value that cannot be worked with.
        """
        if no_face not in ("skip", "whole"):
            raise UsageError(f"no_face is {no_face!r}; give 'skip' or 'whole'")
        max_faces = self._max_faces if max_faces is None else max_faces
        if max_faces is not None and max_faces < 1:
            raise UsageError(f"max_faces is {max_faces}; give 1 or more")
        if max_views is not None and max_views < 1:
            raise UsageError(f"max_views is {max_views}; give 1 or more")
        texts = distinct_texts(prompts or ())
        if texts and not self.compares_texts:
            log.warning("%s", NO_TEXTS)
            texts = []
        picture = open_photo(photo)
        pyramid = Pyramid(picture)
        faces = self._finder.find(pyramid, tiles=tiles)
        if max_faces is not None and len(faces) > max_faces:
            largest = sorted(faces, key=_area, reverse=True)[:max_faces]
            faces = [face for face in faces if face in largest]
        if not faces and no_face == "whole":
            faces = [whole_picture(picture)]
        return self._predict(pyramid, faces, texts, max_views) if faces else []

    def similarity(self, face: FacePrediction, prompts: Sequence[str]) -> dict[str, float]:
        """Cosine in [−1, 1] of the face's fused embedding and each prompt's text embedding; the photo is not needed.

        Raises:
            UsageError: `prompts` is one text instead of several, more than 100, or holds one that is empty or longer
                than 120 letters; or the weights have no text tower (`compares_texts`).
        """
        texts = distinct_texts(prompts)
        if not self.compares_texts:
            raise UsageError(NO_TEXTS)
        return self._score(face.embedding, texts)

    def softmax(self, similarities: dict[str, float]) -> dict[str, float]:
        """Shares that sum to 1: softmax over the given prompts at the temperature learned in training."""
        if not similarities:
            return {}
        shares = torch.softmax(
            self._scale * torch.tensor(list(similarities.values()), dtype=torch.float64), dim=0
        )
        return dict(zip(similarities, shares.tolist(), strict=True))

    def unknown_words(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        """Prompt → its words that no training caption held; prompts without such words are left out."""
        if self._prompted is None:
            raise UsageError(NO_TEXTS)
        unknown = {prompt: self._prompted.towers.unknown_words(prompt) for prompt in distinct_texts(prompts)}
        return {prompt: words for prompt, words in unknown.items() if words}

    def nearest_words(self, prompts: Sequence[str]) -> dict[str, dict[str, list[str]]]:
        """Prompt → unknown word → at most three known words like it; prompts without unknown words are left out."""
        if self._prompted is None:
            raise UsageError(NO_TEXTS)
        nearest = {prompt: self._prompted.towers.nearest_words(prompt) for prompt in distinct_texts(prompts)}
        return {prompt: words for prompt, words in nearest.items() if words}

    @torch.inference_mode()
    def _describe_here(
        self, crops: UInt8[np.ndarray, "face side side 3"], texts: list[str]
    ) -> tuple[Description, Tensor | None]:
        """What the network says of some crops, and the texts' embeddings, all on the CPU."""
        pixels = torch.from_numpy(crops).to(self._device).permute(0, 3, 1, 2).float() / 255
        description, prompts = self._network(pixels, self._age_text), self._encode(texts)
        return _on_cpu(description), None if prompts is None else prompts.cpu()

    def _all_described(
        self, crops: UInt8[np.ndarray, "face side side 3"], texts: list[str]
    ) -> tuple[list[Description], Tensor | None]:
        """As `_describe_here`, `BATCH` crops at a time."""
        parts, prompts = [], None
        for start in range(0, len(crops), BATCH):
            part, encoded = self._describe(crops[start : start + BATCH], [] if start else texts)
            parts.append(part)
            prompts = prompts if start else encoded
        return parts, prompts

    def _evidence(self, parts: list[Description]) -> Evidence:
        predictive = self._checkpoint.config.predictive
        return join([evidence(part, predictive) for part in parts])

    @torch.inference_mode()
    def _predict(
        self, pyramid: Pyramid, faces: list[Face], texts: list[str], max_views: int | None
    ) -> list[FacePrediction]:
        """One prediction per face, of which there is at least one."""
        config, size = self._checkpoint.config, self._image_size
        crops = crop_views(pyramid, faces, FIRST, size)
        parts, prompts = self._all_described(crops, texts)
        further: list[list[np.ndarray]] = [[] for _ in faces]

        def next_view(number: int, rows: list[int]) -> Evidence:
            shown = crop_views(pyramid, [faces[row] for row in rows], config.views[number - 1], size)
            for row, crop in zip(rows, shown, strict=True):
                further[row].append(crop)
            return self._evidence(self._all_described(shown, [])[0])

        first, rule = self._evidence(parts), config.correction
        if max_views is not None:
            rule = replace(rule, max_views=min(rule.max_views, max_views))
        names = [view.name for view in config.views]
        corrections, state = correct(self._ensemble, first, rule, config.predictive, next_view, names)
        familiar = self._checkpoint.familiarity(first.embedding)
        ages = torch.tensor([correction.age for correction in corrections])
        distributions = self._distributions(state, ages, familiar).numpy()
        embeddings = F.normalize(state.embedding, dim=1)
        relevance = torch.cat([part.relevance for part in parts])
        predictions = []
        for row, (face, correction) in enumerate(zip(faces, corrections, strict=True)):
            forecast = Forecast(distributions[row], correction.age, correction.estimated_error)
            known = bool(familiar[row])
            predictions.append(
                FacePrediction(
                    box=face.box,
                    detection_score=face.score,
                    age=correction.age,
                    interval=config.conformal.interval(forecast),
                    initial_age=correction.trace[0].age,
                    trace=correction.trace,
                    status=correction.status if known else "low_confidence",
                    distribution=distributions[row],
                    similarities=self._similarities(embeddings[row], prompts, texts),
                    heatmap=_unit_range(relevance[row]).numpy(),
                    crop=crops[row],
                    embedding=embeddings[row].numpy(),
                    further_crops=tuple(further[row]),
                    familiar=known,
                    conformal=config.conformal,
                )
            )
            _require_sound(predictions[-1])
        return predictions

    def _distributions(self, state: Evidence, ages: Tensor, familiar: Tensor) -> Tensor:
        """The predictive distributions whose locations are `ages`, flatter where the picture is unfamiliar."""
        config = self._checkpoint.config
        probabilities, which = state.probabilities, config.predictive.location
        flat = flattened(probabilities, config.familiarity.flatter)
        probabilities = torch.where(familiar.unsqueeze(1), probabilities, flat)
        if which == "head":
            return probabilities
        stays = ((state.age - ages).abs() < 1e-4) & familiar
        return torch.where(stays.unsqueeze(1), probabilities, moved(probabilities, ages, which))

    @torch.inference_mode()
    def _score_here(self, embedding: np.ndarray, texts: list[str]) -> dict[str, float]:
        return self._similarities(torch.from_numpy(embedding).to(self._device), self._encode(texts), texts)

    def _encode(self, texts: list[str]) -> Tensor | None:
        if not texts or self._prompted is None:
            return None
        return self._prompted.towers.encode_text(texts)

    def _similarities(self, embedding: Tensor, prompts: Tensor | None, texts: list[str]) -> dict[str, float]:
        if prompts is None:
            return {}
        cosines = (prompts @ embedding).clamp(-1, 1)
        return dict(zip(texts, cosines.tolist(), strict=True))


def _on_cpu(description: Description) -> Description:
    """The same on the CPU. Raises WeightsError where it holds what is no number, or an age out of range: they would be
    told as if they were estimates."""
    estimate = description.estimate
    values = (getattr(estimate, each.name) for each in fields(estimate))
    others = (description.embedding, description.parts, description.relevance)
    if not all(torch.isfinite(value).all() for value in (*values, *others)):
        raise WeightsError("the weights give ages that are no numbers; they are damaged: load others")
    last = estimate.logits.shape[1] - 1
    if not ((estimate.age > -TOLERANCE) & (estimate.age < last + TOLERANCE)).all():
        raise WeightsError(f"the weights give ages outside the range of 0 to {last} years; load others")
    moved_estimate = type(estimate)(
        **{each.name: getattr(estimate, each.name).cpu() for each in fields(estimate)}
    )
    rest = {
        each.name: getattr(description, each.name).cpu()
        for each in fields(description)
        if each.name != "estimate"
    }
    return type(description)(estimate=moved_estimate, **rest)


def _require_sound(face: FacePrediction) -> None:
    """Raise WeightsError where a number of the prediction is none, or the age is out of range."""
    errors = (value for step in face.trace for value in (step.age, step.estimated_error, step.kept_error))
    numbers = np.array([face.age, face.initial_age, *face.interval, *errors, *face.distribution])
    in_range = -TOLERANCE < face.age < len(face.distribution) - 1 + TOLERANCE
    if not (in_range and np.isfinite(numbers).all()):
        raise WeightsError("the weights give ages or errors that cannot be; they are damaged: load others")


def _area(face: Face) -> float:
    x0, y0, x1, y1 = face.box
    return (x1 - x0) * (y1 - y0)


def _unit_range(relevance: Tensor) -> Tensor:
    """Smallest cell 0, largest 1; an even map is 0."""
    low, high = relevance.min(), relevance.max()
    return (relevance - low) / (high - low).clamp(min=1e-12)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"PyTorch has no device '{name}' here; give 'cpu'") from error
    return device
