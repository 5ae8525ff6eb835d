"""CLIP image and text towers through open_clip, in the form that the fusion needs.

METHOD 2 and 3. Beside CLIP's usual global embedding the image tower gives a grid of local embeddings in the same space,
and the text tower also runs on token embeddings, so that learnable context tokens can stand among the words.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

import open_clip
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.untrusted.bounds import Architecture, Count, Factor, Name, Names, Share, TokenId

WORD = re.compile(r"[^\W\d_]+|\d+")

# difflib's ratio from which a known word is offered for an unknown one: "glases" for "glasses" has 0.92, "tiger" for
# "tired" 0.6.
LIKENESS = 0.7


# More than the captions of training hold; at most 120 letters each, they take a few megabytes.
MAX_CACHED_WORDS = 10_000


class _WordCache(dict[str, str]):
    """The tokenizer's cache, word to tokens, that takes no more words when it is full.

    Nothing ever leaves it, so that threads may share it without a lock.
    """

    def __setitem__(self, word: str, tokens: str) -> None:
        if len(self) < MAX_CACHED_WORDS:
            super().__setitem__(word, tokens)


@dataclass(frozen=True)
class ClipConfig:
    """How to build the two towers.

    Attributes:
        architecture: an open_clip model configuration (`embed_dim`, `vision_cfg`, `text_cfg`, …).
        grid_stage: which of the image tower's intermediate outputs is the grid, counted from the end (1 = the last).
        token_ids: ids of the full CLIP vocabulary that the text tower has an embedding for, ascending; all other ids
            share one "unknown" embedding. None when the tower has the full vocabulary.
        words: words that occurred in training captions, sorted; None when the tower was trained on open text.
        misspelled: those of `words` that are misspellings: the tower knows them, nobody is to be offered them.
        pretrained: open_clip's `name/tag` of published weights to start from; None in a stored checkpoint.
        mean, std: RGB normalisation of pixels in [0, 1]; CLIP's own statistics (METHOD 2).
    """

    architecture: Architecture
    grid_stage: Count = 1
    token_ids: Annotated[tuple[TokenId, ...], Field(max_length=49_408)] | None = None
    words: Names | None = None
    misspelled: Names = ()
    pretrained: Name | None = None
    mean: tuple[Share, Share, Share] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[Factor, Factor, Factor] = (0.26862954, 0.26130258, 0.27577711)

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return int(self.architecture["vision_cfg"]["image_size"])

    @property
    def embed_dim(self) -> int:
        """Width D of the space that images and texts share."""
        return int(self.architecture["embed_dim"])


class Tokenizer:
    """Texts → token ids of a text tower, on the CPU; needs no tower, so that a worker process can use it."""

    def __init__(self, config: ClipConfig, context_length: int) -> None:
        self.bpe = open_clip.SimpleTokenizer(context_length=context_length)
        self.bpe.cache = _WordCache(self.bpe.cache)
        with torch.device("cpu"):  # also where the towers are built without memory, on "meta"
            self._map = _token_map(config, self.bpe.vocab_size)

    def __call__(self, texts: list[str]) -> Int[Tensor, "text token"]:
        """Cut to the longest text; a text longer than the context is cut off."""
        with torch.device("cpu"):
            ids = self._map[self.bpe(texts)]
        return ids[:, : int(ids.argmax(dim=1).max()) + 1]


class ClipTowers(nn.Module):
    """Images and texts → embeddings of width D (not normalised)."""

    clip: Any  # open_clip has no type information
    mean: Tensor
    std: Tensor

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.clip = _build_clip(config)
        self.tokenizer = Tokenizer(config, self.clip.context_length)
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)
        if not self._projects_tokens:
            channels = self.clip.visual.trunk.feature_info[-config.grid_stage]["num_chs"]
            self.grid_projection = nn.Conv2d(channels, config.embed_dim, kernel_size=1)
            self.image_norm = nn.BatchNorm1d(config.embed_dim, affine=False)

    @property
    def embed_dim(self) -> int:
        """Width D of the shared space."""
        return self.config.embed_dim

    @property
    def text_width(self) -> int:
        """Width of the text tower's token embeddings."""
        return int(self.clip.token_embedding.embedding_dim)

    def encode_image(
        self, pixels: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch embed"], Float[Tensor, "batch embed rows columns"]]:
        """RGB pixels in [0, 1] → global embedding and grid of local embeddings."""
        image, grid = self.encode_raw(pixels)
        return image, self.project_grid(grid)

    def encode_raw(
        self, pixels: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch embed"], Float[Tensor, "batch channel rows columns"]]:
        """As `encode_image`, with the grid as the tower gives it, before its projection into the shared space."""
        visual = self.clip.visual
        # Not `indices=grid_stage`: open_clip would read an integer as "the last n" and return n of them.
        features = visual.forward_intermediates(
            (pixels - self.mean) / self.std,
            indices=[self._grid_index],
            normalize_intermediates=self._projects_tokens,
        )
        image, grid = features["image_features"], features["image_intermediates"][0]
        return image if self._projects_tokens else self.image_norm(image), grid

    def project_grid(
        self, grid: Float[Tensor, "batch channel rows columns"]
    ) -> Float[Tensor, "batch embed rows columns"]:
        """The tower's grid → local embeddings in the shared space."""
        if self._projects_tokens:
            return torch.einsum("bchw,cd->bdhw", grid, self.clip.visual.proj)
        return self.grid_projection(grid)

    def tokenize(self, texts: list[str]) -> Int[Tensor, "text token"]:
        """Texts → token ids of this tower, cut to the longest text; a text longer than the context is cut off."""
        return self.tokenizer(texts).to(self.mean.device)

    def embed_tokens(self, ids: Int[Tensor, "*text token"]) -> Float[Tensor, "*text token width"]:
        """Token ids → token embeddings, before positions are added."""
        return self.clip.token_embedding(ids)

    def encode_tokens(self, ids: Int[Tensor, "text token"]) -> Float[Tensor, "text embed"]:
        """Token ids → text embeddings. The end token has the highest id, as in CLIP."""
        return self.encode_embedded(self.embed_tokens(ids), ids.argmax(dim=1))

    def encode_embedded(
        self, embedded: Float[Tensor, "text token width"], end: Int[Tensor, " text"]
    ) -> Float[Tensor, "text embed"]:
        """Token embeddings and the position of each end token → text embeddings (METHOD 3)."""
        clip, length = self.clip, embedded.shape[1]
        x = embedded + clip.positional_embedding[:length]
        x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
        x = clip.ln_final(x)[torch.arange(len(x), device=x.device), end]
        return x @ clip.text_projection

    def encode_text(self, texts: list[str]) -> Float[Tensor, "text embed"]:
        """Texts → unit text embeddings."""
        return self.encode_ids(self.tokenize(texts))

    def encode_ids(self, ids: Int[Tensor, "text token"]) -> Float[Tensor, "text embed"]:
        """Token ids of `tokenize` → unit text embeddings."""
        return F.normalize(self.encode_tokens(ids).float(), dim=-1)

    def unknown_words(self, text: str) -> list[str]:
        """Words of `text` that no training caption contained, in order, each once; empty for open-text towers."""
        if self.config.words is None:
            return []
        known = set(self.config.words)
        return list(dict.fromkeys(word for word in WORD.findall(text.lower()) if word not in known))

    def nearest_words(self, text: str) -> dict[str, list[str]]:
        """Unknown word of `text` → at most three known words that are written much like it, the nearest first."""
        unknown = self.unknown_words(text)
        offered = sorted(set(self.config.words or ()) - set(self.config.misspelled)) if unknown else []
        return {word: get_close_matches(word, offered, n=3, cutoff=LIKENESS) for word in unknown}

    @property
    def _projects_tokens(self) -> bool:
        """A CLIP ViT projects every grid token by the matrix of its class token (METHOD 2, DenseCLIP)."""
        return isinstance(getattr(self.clip.visual, "proj", None), nn.Parameter)

    @property
    def _grid_index(self) -> int:
        visual = self.clip.visual
        stages = (
            len(visual.transformer.resblocks) if self._projects_tokens else len(visual.trunk.feature_info)
        )
        return stages - self.config.grid_stage


def _build_clip(config: ClipConfig) -> nn.Module:
    if config.pretrained is not None:
        name, tag = config.pretrained.rsplit("/", 1)
        return open_clip.create_model(name, pretrained=tag)
    return open_clip.CLIP(**config.architecture)


def _token_map(config: ClipConfig, vocabulary_size: int) -> Int[Tensor, " vocabulary"]:
    """Full CLIP id → id in this tower. Order is kept, so the end token stays the highest; unknown ids share slot 0,
    which padding uses too: padding stands behind the end token, where causal attention hides it."""
    if config.token_ids is None:
        return torch.arange(vocabulary_size)
    mapping = torch.zeros(vocabulary_size, dtype=torch.long)
    mapping[torch.tensor(config.token_ids)] = torch.arange(1, len(config.token_ids) + 1)
    return mapping
