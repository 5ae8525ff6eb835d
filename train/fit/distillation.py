"""Teachers: trained models from whose estimates another one learns, beside the labels.

A label says how old somebody is; a teacher says how old such a face looks, and how unsure that is, which is the softer
target: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (arXiv 1503.02531).
"""

import random
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.checkpoint import Checkpoint
from cilf.errors import UsageError
from cilf.model.base import AgeModel
from cilf.model.folding import fold_batch_norm


class Teachers(nn.Module):
    """Copies of some checkpoints' models, which never learn again. Each sees the photos at its own size.

    Raises:
        UsageError: a teacher knows other ages than the model that it is to teach.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint], num_ages: int) -> None:
        super().__init__()
        models: list[AgeModel] = [deepcopy(checkpoint.model) for checkpoint in checkpoints]
        self.models: Any = nn.ModuleList(models).requires_grad_(False)
        for number, model in enumerate(models):
            with torch.no_grad():
                text, size = model.encode_ages(), model.image_size
                known = model.describe(torch.zeros(1, 3, size, size), text, mirror=False)
            ages = known.estimate.logits.shape[1]
            if ages != num_ages:
                raise UsageError(
                    f"Teacher {number + 1} estimates {ages} ages, the recipe {num_ages}; give another as --teacher."
                )
            fold_batch_norm(model.to(memory_format=torch.channels_last))
            self.register_buffer(f"text_{number}", text, persistent=False)

    def train(self, mode: bool = True) -> "Teachers":
        """Stay in eval mode, whatever the model that learns does."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, pixels: Float[Tensor, "batch 3 height width"], chance: random.Random
    ) -> Float[Tensor, "batch age"]:
        """One teacher's distributions over ages, of the photos or of their mirror images, both drawn again each time.

        The gradient of a divergence from a mean of distributions is the mean of the gradients, so over many steps this
        teaches the mean of all teachers and both views, at the cost of one.
        """
        number = chance.randrange(len(self.models))
        size = self.models[number].image_size
        if pixels.shape[-1] != size:
            pixels = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        view = pixels.flip(-1) if chance.random() < 0.5 else pixels
        text = self.get_buffer(f"text_{number}")
        probabilities: Tensor = (
            self.models[number].describe(view, text, mirror=False).estimate.probabilities.float()
        )
        return probabilities
