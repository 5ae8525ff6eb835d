"""A published CLIP of open_clip's, which compares faces with texts in place of a checkpoint's own towers.

Only names that open_clip itself registers are loaded, never a path or a repository that somebody names. The weights
come from where open_clip knows them, once, and then from its cache.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from cilf.errors import WeightsError

# A tokenizer keeps the tokens of so many words; at most 120 letters each, they take a few megabytes.
MAX_CACHED_WORDS = 10_000


class _WordCache(dict[str, str]):
    """The tokenizer's cache, which takes no more words when it is full, so that threads may share it."""

    def __setitem__(self, word: str, tokens: str) -> None:
        if len(self) < MAX_CACHED_WORDS:
            super().__setitem__(word, tokens)


def registered(name: str) -> tuple[str, str]:
    """Model and weights of a name like `ViT-B-16-quickgelu/openai`. Raises WeightsError where open_clip has none."""
    model, _, weights = name.rpartition("/")
    known = open_clip.list_pretrained_tags_by_model(model) if model in open_clip.list_models() else []
    if weights not in known:
        hint = (
            f"weights of {model}: {', '.join(known)}" if known else "a name is like ViT-B-16-quickgelu/openai"
        )
        raise WeightsError(f"open_clip knows no CLIP {name!r}; {hint}")
    return model, weights


class PublishedClip:
    """Both towers of one model, for inference; may be shared between threads.

    Attributes:
        name: as open_clip registers it, with its weights.
        scale: by which cosines are multiplied before a softmax.
    """

    def __init__(
        self,
        name: str,
        clip: Any,
        preprocess: Callable[[Image.Image], Tensor],
        tokenizer: Any,
        device: str = "cpu",
    ) -> None:
        self.name = name
        self.scale = float(clip.logit_scale.exp().item())
        self._clip, self._preprocess, self._tokenizer = clip.eval(), preprocess, tokenizer
        self._device = device
        if isinstance(tokenizer, open_clip.SimpleTokenizer):
            tokenizer.cache = _WordCache(tokenizer.cache)

    @classmethod
    def load(cls, name: str, device: str = "cpu") -> "PublishedClip":
        """Fetch and build a model by its registered name. Raises WeightsError, in one sentence, where that fails."""
        model, weights = registered(name)
        try:
            clip, _, preprocess = open_clip.create_model_and_transforms(
                model, pretrained=weights, device=device
            )
            return cls(name, clip, preprocess, open_clip.get_tokenizer(model), device)
        except Exception as error:  # open_clip hands on whatever its ways of fetching raise
            reason = " ".join(str(error).strip().partition("\n")[0].split())[:200]
            raise WeightsError(
                f"the weights of the CLIP {name!r} cannot be fetched ({reason}); check the connection, or choose "
                "weights that are on this computer"
            ) from error

    @torch.inference_mode()
    def similarity(self, crop: np.ndarray, texts: list[str]) -> dict[str, float]:
        """Text → cosine in [-1, 1] with an aligned face (SxSx3 uint8 RGB), enlarged to the towers' size."""
        pixels = self._preprocess(Image.fromarray(crop)).unsqueeze(0).to(self._device)
        image = F.normalize(self._clip.encode_image(pixels).float(), dim=-1)
        prompts = F.normalize(self._clip.encode_text(self._tokenizer(texts).to(self._device)).float(), dim=-1)
        return dict(zip(texts, (prompts @ image[0]).clamp(-1, 1).tolist(), strict=True))
