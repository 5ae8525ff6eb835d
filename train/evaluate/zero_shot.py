"""Ages from prompts alone: no training photo, no fitted head, any CLIP that open_clip knows.

The first version of the paper's task. A face is found and cut out as always; each age from 0 to 100 is named by an
ensemble of templates whose text embeddings are averaged; the softmax of the cosines at the model's own logit scale is a
distribution over ages, and its mean the estimate (METHOD 7).

A published CLIP has seen no age label of these sets, so its result is **zero-shot**. The towers of our own checkpoints
were trained on labels: theirs is **prompt-only** and never called otherwise.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import open_clip
import pandas as pd
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from cilf.checkpoint import Checkpoint, load
from cilf.errors import PhotoError, WeightsError
from cilf.face.finder import FaceFinder, align
from cilf.face.images import open_photo
from cilf.inference.tokenizer import unknown_words
from cilf.model.cilf import CILF
from cilf.similarity.published_clip import registered
from train.data.captions import TEMPLATES
from train.data.datasets import DatasetError, Sample
from train.data.prepare_crops import main_face
from train.evaluate.point_report import labels

log = logging.getLogger(__name__)

AGES = range(101)
BATCH = 64

Kind = Literal["zero-shot", "prompt-only"]


@dataclass(frozen=True)
class PromptModel:
    """Image and text towers, reduced to what prompts need.

    Attributes:
        name: of the model, as it was asked for.
        kind: "zero-shot" when the towers have seen no age label, else "prompt-only".
        size: side of the crops that it sees, in pixels.
        scale: by which cosines are multiplied before the softmax.
        encode_image: B crops, SxSx3 uint8 RGB → (B, D) unit embeddings.
        encode_text: N texts → (N, D) unit embeddings.
        unknown_words: a text → its words that the text tower never met in training.
    """

    name: str
    kind: Kind
    size: int
    scale: float
    encode_image: Callable[[list[np.ndarray]], Tensor]
    encode_text: Callable[[list[str]], Tensor]
    unknown_words: Callable[[str], list[str]] = lambda text: []


def public_clip(name: str, device: str = "cpu") -> PromptModel:
    """A CLIP of open_clip's: `MODEL/WEIGHTS` such as `ViT-B-16-quickgelu/openai`, or `hf-hub:…`, `local-dir:…`.

    Raises:
        WeightsError: there is no such model, or its weights cannot be fetched.
    """
    model, weights = _named(name)
    try:
        clip, _, preprocess = open_clip.create_model_and_transforms(model, pretrained=weights, device=device)
        tokenizer = open_clip.get_tokenizer(model)
    except Exception as error:  # open_clip hands on whatever its ways of fetching raise
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(
            f"The weights of the CLIP {name!r} cannot be fetched ({reason}); check the connection, or put them on this "
            "disk and name their folder as local-dir:FOLDER."
        ) from error
    return _from_open_clip(name, clip.eval(), preprocess, tokenizer, device)


def _from_open_clip(
    name: str,
    clip: Any,
    preprocess: Callable[[Image.Image], Tensor],
    tokenizer: Callable[[list[str]], Tensor],
    device: str,
) -> PromptModel:
    size = clip.visual.image_size

    def encode_image(crops: list[np.ndarray]) -> Tensor:
        pixels = torch.stack([preprocess(Image.fromarray(crop)) for crop in crops])
        return clip.encode_image(pixels.to(device), normalize=True).float()

    def encode_text(texts: list[str]) -> Tensor:
        return clip.encode_text(tokenizer(texts).to(device), normalize=True).float()

    return PromptModel(
        name=name,
        kind="zero-shot",
        size=size[0] if isinstance(size, tuple) else size,
        scale=clip.logit_scale.exp().item(),
        encode_image=encode_image,
        encode_text=encode_text,
    )


def _named(name: str) -> tuple[str, str | None]:
    """Model and weights of a name. Raises WeightsError where open_clip does not know them."""
    if name.startswith(("hf-hub:", "local-dir:")):
        return name, None
    return registered(name)


def own_towers(source: str | None, device: str = "cpu") -> PromptModel:
    """`towers_of` a checkpoint of ours, bundled where `source` is None.

    Raises WeightsError where the checkpoint cannot be loaded, or has no text tower.
    """
    return towers_of(load(source), device)


def towers_of(checkpoint: Checkpoint, device: str = "cpu") -> PromptModel:
    """The towers of a checkpoint. They have seen labels: prompt-only.

    Prompts are compared with the fused image embedding, as in training and in `AgeEstimator.similarity`: the image
    tower's own was never taught to lie near texts.

    Raises:
        WeightsError: the checkpoint has no text tower.
    """
    if not isinstance(checkpoint.model, CILF):
        raise WeightsError(
            f"{checkpoint.source} has no text tower: prompts say nothing to it; name another --clip."
        )
    return towers_of_network(checkpoint.model.to(device), checkpoint.source)


def towers_of_network(model: CILF, name: str) -> PromptModel:
    """The towers of a network as it is; see `towers_of`."""
    model = model.eval()
    with torch.inference_mode():
        age_text = model.encode_ages()

    def encode_image(crops: list[np.ndarray]) -> Tensor:
        pixels = torch.from_numpy(np.stack(crops)).to(age_text.device).permute(0, 3, 1, 2).float() / 255
        return F.normalize(model(pixels, age_text).embedding.float(), dim=-1)

    return PromptModel(
        name=name,
        kind="prompt-only",
        size=model.towers.config.image_size,
        scale=model.scale.item(),
        encode_image=encode_image,
        encode_text=model.towers.encode_text,
        unknown_words=partial(unknown_words, model.towers.config),
    )


@torch.inference_mode()
def age_embeddings(model: PromptModel, templates: tuple[str, ...] = TEMPLATES) -> Float[Tensor, "age embed"]:
    """Unit text embedding of each age from 0 to 100, the mean over templates with a blank `{age}`."""
    texts = [template.format(age=age) for template in templates for age in AGES]
    embeddings = torch.cat([model.encode_text(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH)])
    return F.normalize(embeddings.unflatten(0, (len(templates), len(AGES))).mean(dim=0), dim=-1)


@torch.inference_mode()
def estimate(
    model: PromptModel, crops: list[np.ndarray], ages: Float[Tensor, "age embed"]
) -> Float[Tensor, "crop age"]:
    """Distribution over the ages from 0 to 100 for each crop."""
    cosines = model.encode_image(crops) @ ages.T
    return (model.scale * cosines).softmax(dim=-1)


def predict(model: PromptModel, samples: list[Sample], finder: FaceFinder | None = None) -> pd.DataFrame:
    """One row per sample: its name and labels, and the age that prompts alone give its largest face.

    A photo that cannot be read is left out with a warning, as `prepare` does. Raises DatasetError when none can.
    """
    finder, ages = finder or FaceFinder(), age_embeddings(model)
    rows: list[dict[str, Any]] = []
    bar = tqdm(total=len(samples), desc=model.kind, unit="photo")
    for start in range(0, len(samples), BATCH):
        chunk, photos, faces = [], [], []
        for sample in samples[start : start + BATCH]:
            try:
                photo = open_photo(sample.path)
                faces.append(main_face(photo, finder))
                photos.append(photo)
                chunk.append(sample)
            except PhotoError as error:
                log.warning("left out: %s", error)
            bar.update()
        if not chunk:
            continue
        crops = [align(photo, face, model.size) for photo, face in zip(photos, faces, strict=True)]
        means = estimate(model, crops, ages) @ torch.arange(
            len(AGES), dtype=torch.float32, device=ages.device
        )
        for sample, face, age in zip(chunk, faces, means.tolist(), strict=True):
            rows.append(labels(sample) | {"age": age, "detected": face.keypoints is not None})
    bar.close()
    if not rows:
        raise DatasetError(f"None of the {len(samples)} photos can be read.")
    return pd.DataFrame(rows)
