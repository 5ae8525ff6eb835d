"""The one door for users: a photo in, one `FacePrediction` per face out."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from cilf.checkpoint import Checkpoint, load
from cilf.errors import UsageError
from cilf.face.finder import Face, FaceFinder, align, whole_picture
from cilf.face.images import open_photo
from cilf.hub import Progress
from cilf.model.cilf import CILF
from cilf.model.correction import correct
from cilf.model.onnx_runtime import network
from cilf.prediction import FacePrediction, NoFace
from cilf.texts import distinct_texts

NO_TEXTS = "these weights compare no texts with faces: they have no text tower; load weights of CILF for that"

log = logging.getLogger(__name__)

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
        self._ensemble = checkpoint.ensemble.to(self._device)
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
        face_model: str | Path | None = None,
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
            face_model: MediaPipe's detector file; None looks for it (see `cilf.face.finder.FaceFinder`).
            max_faces: of each photo keep only so many faces, the largest ones, where `predict` is not told otherwise.
            on_device: wraps the functions that compute on the device, for a host that lends its device for one call at
                a time, in a process of its own; their arguments and results can be pickled.
            progress: told the bytes downloaded from the Hub so far and in all; None draws a bar where stderr is a
                terminal.

        Raises:
            WeightsError: the weights cannot be loaded.
            DetectorError: MediaPipe or its model file cannot be loaded.
            UsageError: PyTorch does not have the device.
        """
        checkpoint = load(source, revision=revision, progress=progress)
        return cls(checkpoint, FaceFinder(face_model), device, max_faces=max_faces, on_device=on_device)

    @property
    def source(self) -> str:
        """What is loaded and from where, in words."""
        return self._checkpoint.source

    @property
    def sha256(self) -> str:
        """Of the weights file: which weights exactly."""
        return self._checkpoint.config.sha256

    @property
    def kind(self) -> Literal["cilf", "mtmsa"]:
        """Which system the weights are of."""
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
    ) -> list[FacePrediction]:
        """Estimate the age of every face.

        Args:
            photo: a path, a PIL image, or an HxWx3 uint8 RGB array.
            prompts: at most 100 texts of at most 120 letters to compare with each face; None compares with none, and so
                do weights without a text tower (`compares_texts`), whatever is given.
            no_face: what to do with a photo without a face: give no prediction, or take the whole picture as the face.
            tiles: look for small faces too; without it the detector takes a few milliseconds.
            max_faces: keep only so many, the largest ones; None keeps as many as the estimator was made for.

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
        texts = distinct_texts(prompts or ())
        if texts and not self.compares_texts:
            log.warning("%s", NO_TEXTS)
            texts = []
        picture = open_photo(photo)
        faces = self._finder.find(picture, tiles=tiles)
        if max_faces is not None and len(faces) > max_faces:
            largest = sorted(faces, key=_area, reverse=True)[:max_faces]
            faces = [face for face in faces if face in largest]
        if not faces and no_face == "whole":
            faces = [whole_picture(picture)]
        crops = [align(picture, face, self._image_size) for face in faces]
        predictions: list[FacePrediction] = []
        for start in range(0, len(faces), BATCH):
            chunk = slice(start, start + BATCH)
            predictions += self._describe(faces[chunk], np.stack(crops[chunk]), texts)
        return predictions

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
        found = {prompt: self._prompted.towers.unknown_words(prompt) for prompt in distinct_texts(prompts)}
        return {prompt: words for prompt, words in found.items() if words}

    @torch.inference_mode()
    def _describe_here(
        self, faces: list[Face], crops: UInt8[np.ndarray, "face side side 3"], texts: list[str]
    ) -> list[FacePrediction]:
        config = self._checkpoint.config
        pixels = torch.from_numpy(crops).to(self._device).permute(0, 3, 1, 2).float() / 255
        found = self._network(pixels, self._age_text)
        corrections = correct(self._ensemble, found.embedding, found.estimate, config.correction)
        prompts = self._encode(texts)
        predictions = []
        for index, (face, correction) in enumerate(zip(faces, corrections, strict=True)):
            predictions.append(
                FacePrediction(
                    box=face.box,
                    detection_score=face.score,
                    age=correction.age,
                    interval=config.interval.interval(correction.age, correction.estimated_error),
                    initial_age=correction.trace[0].age,
                    trace=correction.trace,
                    status=correction.status,
                    distribution=found.estimate.probabilities[index].cpu().numpy(),
                    similarities=self._similarities(found.embedding[index], prompts, texts),
                    heatmap=_unit_range(found.relevance[index]).cpu().numpy(),
                    crop=crops[index],
                    embedding=found.embedding[index].cpu().numpy(),
                    decision=config.decision,
                )
            )
        return predictions

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
