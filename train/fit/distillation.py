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

from cilf.checkpoint import Checkpoint
from cilf.errors import UsageError
from cilf.model.base import AgeModel
from cilf.model.folding import fold_batch_norm


class Teachers(nn.Module):
    """Copies of some checkpoints' models, which never learn again.

    Raises:
        UsageError: a teacher wants crops of another size, or knows other ages, than the model that it is to teach.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint], image_size: int, num_ages: int) -> None:
        super().__init__()
        models: list[AgeModel] = [deepcopy(checkpoint.model) for checkpoint in checkpoints]
        self.models: Any = nn.ModuleList(models).requires_grad_(False)
        for number, model in enumerate(models):
            with torch.no_grad():
                text = model.encode_ages()
                known = model.describe(torch.zeros(1, 3, image_size, image_size), text, mirror=False)
            if (model.image_size, known.estimate.logits.shape[1]) != (image_size, num_ages):
                raise UsageError(
                    f"Teacher {number + 1} estimates {known.estimate.logits.shape[1]} ages from crops of "
                    f"{model.image_size} pixels, the recipe {num_ages} from {image_size}; give another as --teacher."
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
        """One teacher's distributions over ages, of the photos or of their mirror images, both drawn anew each time.

        The gradient of a divergence from a mean of distributions is the mean of the gradients, so over many steps this
        teaches the mean of all teachers and both views, at the cost of one.
        """
        number = chance.randrange(len(self.models))
        view = pixels.flip(-1) if chance.random() < 0.5 else pixels
        text = self.get_buffer(f"text_{number}")
        probabilities: Tensor = (
            self.models[number].describe(view, text, mirror=False).estimate.probabilities.float()
        )
        return probabilities
