"""The public API: a photo in, one `FacePrediction` per face out."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from cilf.checkpoint import Checkpoint, load
from cilf.child_process import available_processors
from cilf.conformal import Forecast
from cilf.errors import UsageError, WeightsError
from cilf.face.crops import CropBatch, CropConfig, FaceCrops, crop_faces
from cilf.face.finder import FaceFinder
from cilf.hub import Progress
from cilf.inference.correction import correct
from cilf.inference.evidence import Evidence, evidence, join
from cilf.inference.familiarity import flattened, normalized
from cilf.inference.outputs import TOLERANCE, CropOutputs, require_numbers
from cilf.inference.predictive import moved, softmax
from cilf.inference.tokenizer import nearest_words, unknown_words
from cilf.model.config import ClipConfig, ModelConfig
from cilf.model.registry import family_of
from cilf.photo_set.pipeline import PhotoResult, predict_many
from cilf.prediction import FacePrediction, NoFace
from cilf.texts import distinct_texts
from cilf.untrusted.trial import require_success
from cilf.video.people import FrameProgress, predict_video

if TYPE_CHECKING:
    from cilf.similarity.published_clip import PublishedClip

NO_TEXTS = "these weights compare no texts with faces: they have no text tower; load weights of CILF for that"

# Before the name of a published CLIP, given for weights.
CLIP = "clip:"

log = logging.getLogger(__name__)

BATCH = 16  # crops at once; bounds the memory that a group photo takes

Work = Callable[..., Any]


def _as_it_is(work: Work) -> Work:
    return work


class AgeEstimator:
    """Estimates the ages of the faces in photos. Make one with `from_pretrained`; it may be shared between threads.

    It takes over the checkpoint that it is given: where PyTorch computes, its network is changed for inference and can
    be saved no more. PyTorch is imported where it computes, and where a checkpoint does not come with the package.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        finder: FaceFinder | None = None,
        device: str = "cpu",
        *,
        max_faces: int | None = None,
        on_device: Callable[[Work], Work] = _as_it_is,
        published_clip: "PublishedClip | None" = None,
    ) -> None:
        self._checkpoint = checkpoint
        self._network = checkpoint.network(device)
        self._finder = finder or FaceFinder(threads=available_processors())
        self._max_faces = max_faces
        self._describe = on_device(self._describe_here)
        self._published = published_clip
        self._compare = on_device(published_clip.similarity) if published_clip else None

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
            source: None for the bundled weights of CILF; "mtmsa", "lra-gnn" or "mcgrl" for other bundled ones; a
                folder; `user/repository` on the Hugging Face Hub; or `clip:MODEL/WEIGHTS`: the bundled CILF for ages,
                and a published CLIP of open_clip's, such as `clip:ViT-B-16-quickgelu/openai`, for prompts.
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
        clip = None
        if isinstance(source, str) and source.startswith(CLIP):
            from cilf.similarity.published_clip import PublishedClip

            clip, source = PublishedClip.load(source.removeprefix(CLIP), device), None
        checkpoint = load(source, revision=revision, progress=progress)
        if checkpoint.untried:
            require_success(checkpoint.untried)
        return cls(checkpoint, None, device, max_faces=max_faces, on_device=on_device, published_clip=clip)

    @property
    def source(self) -> str:
        """What is loaded and from where, in words."""
        source = self._checkpoint.source
        return f"{source}, prompts by {self.scored_by}" if self._published else source

    @property
    def scored_by(self) -> str:
        """Which text tower compares faces with prompts; empty where none does."""
        if self._published:
            return f"CLIP {self._published.name}"
        return self._checkpoint.source if self.compares_texts else ""

    @property
    def by_published_clip(self) -> bool:
        """Whether a published CLIP compares faces with prompts, and not the checkpoint's own towers."""
        return self._published is not None

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights file."""
        return self._checkpoint.config.sha256

    @property
    def graph_sha256(self) -> str | None:
        """SHA-256 of the graph that belongs to the weights; None where none does."""
        graph = self._checkpoint.config.graph
        return graph.sha256 if graph else None

    @property
    def kind(self) -> str:
        """Which system the weights are of: the name of its family (`cilf.model.registry`)."""
        return self._checkpoint.config.model.kind

    @property
    def compares_texts(self) -> bool:
        """Whether faces can be compared with prompts."""
        return family_of(self._checkpoint.config.model).compares_texts

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
            photo: a path, a PIL image, an HxWx3 uint8 RGB array, or what `cilf.face.images.open_pyramid` gives.
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
        texts = self._texts(prompts)
        crops = crop_faces(photo, self._finder, self.crop_config(no_face, tiles, max_faces, max_views))
        return self._predict(crops, texts, max_views) if crops.faces else []

    def predict_many(
        self, photos: Iterable[Any], prompts: Sequence[str] | None = None, *, no_face: NoFace = "skip"
    ) -> Iterator[PhotoResult]:
        """Estimate the ages of the faces in many photos, with all processors; see `cilf.photo_set.pipeline`.

            for photo in estimator.predict_many(Path("holiday").glob("*.jpg")):
                print(photo.name, photo.error or [face.age for face in photo.faces])

        Args:
            photos: whatever `predict` takes, or pairs of a name and that. They are asked for as they are needed.
            prompts, no_face: see `predict`.

        Yields:
            What each photo gave, in the order of the photos. One that cannot be read gives the reason.

        Raises:
            UsageError: an argument has a value that cannot be worked with.
        """
        return predict_many(self, photos, prompts, no_face=no_face)

    def predict_video(
        self,
        path: str | Path,
        *,
        annotated: str | Path | None = None,
        progress: FrameProgress | None = None,
    ) -> PhotoResult:
        """Estimate the age of every person in a short video (extra `video`); see `cilf.video.people`.

        Args:
            path: an MP4, MOV, WebM or MKV file of at most five minutes.
            annotated: an .mp4 file to write: the video with everybody's box, number and age, without its sound.
            progress: told the frames done so far and in all.

        Returns:
            One face and one row a person, who is tracked from frame to frame; the age is the mean of the frames.

        Raises:
            PhotoError: the file is no video of a known kind, too long, too large or damaged.
            UsageError: PyAV is not installed, or `annotated` cannot be written.
        """
        return predict_video(self, path, annotated=annotated, progress=progress)

    def crop_config(
        self,
        no_face: NoFace = "skip",
        tiles: bool = True,
        max_faces: int | None = None,
        max_views: int | None = None,
    ) -> CropConfig:
        """What `predict` cuts out of a photo with these arguments. Raises UsageError where one has a wrong value."""
        if no_face not in ("skip", "whole"):
            raise UsageError(f"no_face is {no_face!r}; give 'skip' or 'whole'")
        max_faces = self._max_faces if max_faces is None else max_faces
        if max_faces is not None and max_faces < 1:
            raise UsageError(f"max_faces is {max_faces}; give 1 or more")
        if max_views is not None and max_views < 1:
            raise UsageError(f"max_views is {max_views}; give 1 or more")
        config = self._checkpoint.config
        most = config.correction.max_views if max_views is None else max_views
        return CropConfig(
            self._checkpoint.config.model.image_size, config.views[: most - 1], no_face, tiles, max_faces
        )

    def crop(self, photo: str | Path | Any, config: CropConfig) -> FaceCrops:
        """The first half of `predict`: find the faces and cut them out."""
        return crop_faces(photo, self._finder, config)

    def predict_crops(
        self, photos: Sequence[FaceCrops], prompts: Sequence[str] | None = None
    ) -> list[list[FacePrediction]]:
        """The second half of `predict`, for several photos at once: one list per photo."""
        texts, batch = self._texts(prompts), CropBatch(photos)
        faces = iter(self._predict(batch, texts, None) if batch.faces else [])
        return [list(islice(faces, len(photo.faces))) for photo in photos]

    def _texts(self, prompts: Sequence[str] | None) -> list[str]:
        texts = distinct_texts(prompts or ())
        if texts and not self.compares_texts:
            log.warning("%s", NO_TEXTS)
            return []
        return texts

    def similarity(self, face: FacePrediction, prompts: Sequence[str]) -> dict[str, float]:
        """Cosine in [−1, 1] of the face's embedding and each prompt's text embedding; the photo is not needed.

        The face's embedding is the fused one, or, where a published CLIP compares, that of its image tower.

        Raises:
            UsageError: `prompts` is one text instead of several, more than 100, or holds one that is empty or longer
                than 120 letters; or the weights have no text tower (`compares_texts`).
        """
        return self.comparer(prompts)(face)

    def comparer(self, prompts: Sequence[str]) -> Callable[[FacePrediction], dict[str, float]]:
        """`similarity` for many faces and the same prompts, which are encoded once. Raises UsageError as it does."""
        texts = distinct_texts(prompts)
        if not self.compares_texts:
            raise UsageError(NO_TEXTS)
        if (compare := self._compare) is not None:
            return lambda face: compare(face.crop, texts)
        encoded = self._encode(texts)
        return lambda face: _similarities(face.embedding, encoded, texts)

    def softmax(self, similarities: dict[str, float]) -> dict[str, float]:
        """Shares that sum to 1: softmax over the given prompts at the temperature learned in training."""
        if not similarities:
            return {}
        tower = self._published or self._checkpoint.text_tower
        shares = softmax((tower.scale if tower else 1.0) * np.array(list(similarities.values())))
        return dict(zip(similarities, shares.tolist(), strict=True))

    def unknown_words(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        """Prompt → its words that no training caption held; prompts without such words are left out."""
        config, texts = self._text_config(), distinct_texts(prompts)
        if self._published:  # trained on open text
            return {}
        unknown = {prompt: unknown_words(config, prompt) for prompt in texts}
        return {prompt: words for prompt, words in unknown.items() if words}

    def nearest_words(self, prompts: Sequence[str]) -> dict[str, dict[str, list[str]]]:
        """Prompt → unknown word → at most three known words like it; prompts without unknown words are left out."""
        config, texts = self._text_config(), distinct_texts(prompts)
        if self._published:  # trained on open text
            return {}
        nearest = {prompt: nearest_words(config, prompt) for prompt in texts}
        return {prompt: words for prompt, words in nearest.items() if words}

    def _text_config(self) -> ClipConfig:
        config = self._checkpoint.config.model
        if not isinstance(config, ModelConfig):
            raise UsageError(NO_TEXTS)
        return config.clip

    def _describe_here(self, crops: UInt8[np.ndarray, "face side side 3"]) -> CropOutputs:
        outputs = self._network(crops)
        require_numbers(outputs)
        return outputs

    def _all_described(self, crops: UInt8[np.ndarray, "face side side 3"]) -> list[CropOutputs]:
        """What the network says of some crops, `BATCH` at a time."""
        return [self._describe(crops[start : start + BATCH]) for start in range(0, len(crops), BATCH)]

    def _evidence(self, parts: list[CropOutputs]) -> Evidence:
        predictive = self._checkpoint.config.predictive
        return join([evidence(part, predictive) for part in parts])

    # Weights that give no numbers are refused in the end, by `_require_sound`.
    @np.errstate(over="ignore", invalid="ignore")
    def _predict(
        self, crops: FaceCrops | CropBatch, texts: list[str], max_views: int | None
    ) -> list[FacePrediction]:
        """One prediction per face, of which there is at least one."""
        config = self._checkpoint.config
        parts, prompts = self._all_described(crops.first), None if self._compare else self._encode(texts)
        further: list[list[np.ndarray]] = [[] for _ in crops.faces]

        def next_view(number: int, rows: list[int]) -> Evidence:
            shown = crops.view(number, rows)
            for row, crop in zip(rows, shown, strict=True):
                further[row].append(crop)
            return self._evidence(self._all_described(shown))

        first, rule = self._evidence(parts), config.correction
        if max_views is not None:
            rule = replace(rule, max_views=min(rule.max_views, max_views))
        names = [view.name for view in config.views]
        corrections, state = correct(
            self._checkpoint.ensemble, first, rule, config.predictive, next_view, names
        )
        familiar = self._checkpoint.familiarity(first.embedding)
        ages = np.array([correction.age for correction in corrections], state.age.dtype)
        distributions = self._distributions(state, ages, familiar)
        # Texts are compared with the first crop: in a mirrored view left is right, and a coarser one is blurred.
        embeddings = normalized(first.embedding)
        relevance = np.concatenate([part.relevance for part in parts])
        predictions = []
        for row, (face, correction) in enumerate(zip(crops.faces, corrections, strict=True)):
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
                    status=correction.status if known and face.score is not None else "low_confidence",
                    distribution=distributions[row],
                    similarities=self._compare(crops.first[row], texts)
                    if self._compare and texts
                    else _similarities(embeddings[row], prompts, texts),
                    heatmap=_unit_range(relevance[row]),
                    crop=crops.first[row],
                    embedding=embeddings[row],
                    further_crops=tuple(further[row]),
                    familiar=known,
                    conformal=config.conformal,
                )
            )
            _require_sound(predictions[-1])
        return predictions

    def _distributions(
        self, state: Evidence, ages: Float[np.ndarray, " face"], familiar: Bool[np.ndarray, " face"]
    ) -> Float[np.ndarray, "face age"]:
        """The predictive distributions whose locations are `ages`, flatter where the picture is unfamiliar."""
        config = self._checkpoint.config
        probabilities, which = state.probabilities, config.predictive.location
        if not familiar.all():
            flat = flattened(probabilities, config.familiarity.flatter)
            probabilities = np.where(familiar[:, None], probabilities, flat)
        goes = (np.abs(state.age - ages) >= 1e-4) | ~familiar
        if which == "head" or not goes.any():
            return probabilities
        probabilities = probabilities.copy()
        probabilities[goes] = moved(probabilities[goes], ages[goes], which)
        return probabilities

    def _encode(self, texts: list[str]) -> Float[np.ndarray, "text embed"] | None:
        tower = self._checkpoint.text_tower
        return tower.encode_text(texts) if texts and tower else None


def _similarities(
    embedding: Float[np.ndarray, " embed"], prompts: Float[np.ndarray, "text embed"] | None, texts: list[str]
) -> dict[str, float]:
    if prompts is None:
        return {}
    cosines = (prompts @ embedding).clip(-1, 1)
    return dict(zip(texts, cosines.tolist(), strict=True))


def _require_sound(face: FacePrediction) -> None:
    """Raise WeightsError where a number of the prediction is none, or the age is out of range."""
    errors = (value for step in face.trace for value in (step.age, step.estimated_error, step.kept_error))
    numbers = np.array([face.age, face.initial_age, *face.interval, *errors, *face.distribution])
    in_range = -TOLERANCE < face.age < len(face.distribution) - 1 + TOLERANCE
    if not (in_range and np.isfinite(numbers).all()):
        raise WeightsError("the weights give ages or errors that cannot be; they are damaged: load others")


def _unit_range(relevance: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """Smallest cell 0, largest 1; an even map is 0."""
    low, high = relevance.min(), relevance.max()
    return (relevance - low) / max(high - low, np.float32(1e-12))
