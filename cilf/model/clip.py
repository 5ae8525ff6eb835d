"""CLIP image and text towers through open_clip, in the form that the fusion needs.

METHOD 2 and 3. Beside CLIP's usual global embedding the image tower gives a grid of local embeddings in the same space,
and the text tower also runs on token embeddings, so that learnable context tokens can stand among the words.
"""

from typing import Any

import open_clip
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.inference.tokenizer import Tokenizer
from cilf.model.config import ClipConfig

TINY = 1e-5  # variance of a channel that does not vary: its square root still has a derivative


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
        self.style: Style | None = None
        if config.style:
            stages = self.clip.visual.trunk.feature_info[: self._grid_index + 1]
            self.style = Style(sum(stage["num_chs"] for stage in stages), config.embed_dim)

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
            indices=list(range(self._grid_index + 1)) if self.style else [self._grid_index],
            normalize_intermediates=self._projects_tokens,
        )
        image, stages = features["image_features"], features["image_intermediates"]
        if not self._projects_tokens:
            image = self.image_norm(image)
        return image + self.style(stages) if self.style else image, stages[-1]

    def project_grid(
        self, grid: Float[Tensor, "batch channel rows columns"]
    ) -> Float[Tensor, "batch embed rows columns"]:
        """The tower's grid → local embeddings in the shared space."""
        if self._projects_tokens:
            return torch.einsum("bchw,cd->bdhw", grid, self.clip.visual.proj)
        return self.grid_projection(grid)

    def tokenize(self, texts: list[str]) -> Int[Tensor, "text token"]:
        """Texts → token ids of this tower, cut to the longest text; a text longer than the context is cut off."""
        # On its own device where the towers are built without memory, on "meta".
        with torch.device("cpu"):
            return torch.from_numpy(self.tokenizer(texts)).to(self.mean.device)

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


class Style(nn.Module):
    """Statistics of the trunk's stages → what they add to the global embedding, at first nothing.

    The last stage has forgotten tone, light and sharpness, which are no help for the age; the earlier ones know them.
    Means and deviations are what style transfer takes for a picture's style (Huang and Belongie, ICCV 2017); the means
    of the four quarters tell where the light comes from.
    """

    def __init__(self, channels: int, embed_dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(5 * channels, affine=False)
        self.projection = nn.Linear(5 * channels, embed_dim, bias=False)
        nn.init.zeros_(self.projection.weight)

    def forward(self, stages: list[Float[Tensor, "batch _ _ _"]]) -> Float[Tensor, "batch embed"]:
        """Feature maps of the stages → (B, D)."""
        statistics = torch.cat([value for stage in stages for value in _statistics(stage.float())], dim=1)
        style: Tensor = self.projection(self.norm(statistics))
        return style


def _statistics(
    features: Float[Tensor, "batch channel rows columns"],
) -> list[Float[Tensor, "batch channel"]]:
    """Means of the four quarters, and deviation over all."""
    row, column = features.shape[-2] // 2, features.shape[-1] // 2
    halves = features[..., :row, :], features[..., row:, :]
    quarters = [part for half in halves for part in (half[..., :column], half[..., column:])]
    variance = (features - features.mean(dim=(2, 3), keepdim=True)).square().mean(dim=(2, 3))
    return [*(quarter.mean(dim=(2, 3)) for quarter in quarters), (variance + TINY).sqrt()]


def _build_clip(config: ClipConfig) -> nn.Module:
    if config.pretrained is not None:
        name, tag = config.pretrained.rsplit("/", 1)
        return open_clip.create_model(name, pretrained=tag)
    return open_clip.CLIP(**config.architecture)
