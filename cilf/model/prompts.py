"""Age prompts: one text embedding for each age from 0 to 100, and their adaptation to one face.

METHOD 3 (prompts) and 5.1 (context-aware prompting).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.model.clip import ClipTowers
from cilf.model.config import PromptConfig


def hat_weights(num_ages: int, anchors: int) -> Float[Tensor, "age anchor"]:
    """Weights of piecewise-linear interpolation between evenly spaced anchors; rows sum to 1."""
    position = torch.linspace(0, anchors - 1, num_ages).unsqueeze(1)
    return (1 - (position - torch.arange(anchors)).abs()).clamp(min=0)


class AgePrompts(nn.Module):
    """Text embeddings of all ages. They depend on parameters alone, so inference computes them once."""

    weights: Tensor
    frame_ids: Tensor

    def __init__(self, towers: ClipTowers, config: PromptConfig) -> None:
        super().__init__()
        self.config = config
        self.context = nn.Parameter(torch.randn(config.context_tokens, towers.text_width) * 0.02)
        self.anchors = nn.Parameter(torch.randn(config.anchors, towers.text_width) * 0.02)
        self.register_buffer("weights", hat_weights(config.num_ages, config.anchors), persistent=False)
        self.register_buffer("frame_ids", towers.tokenize(["."])[0], persistent=False)
        for index, template in enumerate(config.templates):
            texts = [template.format(age=age) for age in range(config.num_ages)]
            self.register_buffer(f"template_ids_{index}", towers.tokenize(texts), persistent=False)

    def forward(self, towers: ClipTowers, template: int | None = None) -> Float[Tensor, "age embed"]:
        """Unit text embedding of each age: the learnable prompt's plus the template pool's.

        `template` picks one of the pool, as training does at each step; None takes the mean of all.
        """
        picked = range(len(self.config.templates)) if template is None else [template]
        pool = torch.stack([self.pooled(towers, index) for index in picked]).mean(dim=0)
        return F.normalize(self.learned(towers) + pool, dim=-1)

    def pooled(self, towers: ClipTowers, index: int) -> Float[Tensor, "age embed"]:
        """One template of the pool with each age, through the text tower, unit length."""
        ids = self.get_buffer(f"template_ids_{index}")
        return F.normalize(towers.encode_tokens(ids).float(), dim=-1)

    def learned(self, towers: ClipTowers) -> Float[Tensor, "age embed"]:
        """[start] context… age-token "." [end] through the text tower, unit length."""
        ages = (self.weights @ self.anchors).unsqueeze(1)
        count = len(ages)
        frame = towers.embed_tokens(self.frame_ids).expand(count, -1, -1)
        context = self.context.expand(count, -1, -1)
        embedded = torch.cat([frame[:, :1], context, ages, frame[:, 1:]], dim=1)
        end = torch.full((count,), embedded.shape[1] - 1, device=embedded.device)
        return F.normalize(towers.encode_embedded(embedded, end).float(), dim=-1)


class ContextAwarePrompting(nn.Module):
    """T′ = normalize(T + γ v): the age prompts, shifted by what the fusion read from this face (METHOD 5.1)."""

    def __init__(self, embed_dim: int, gamma: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((embed_dim,), gamma))

    def forward(
        self, text: Float[Tensor, "age embed"], context: Float[Tensor, "batch age embed"]
    ) -> Float[Tensor, "batch age embed"]:
        """`text` of unit length, `context` raw; the result has unit length and equals `text` at γ = 0."""
        return F.normalize(text + self.gamma * context, dim=-1)
