"""What the loop must know of a method: a network, a batch's losses, and the ages of unaugmented crops.

A network of another kind trains by the same loop (`train.fit.loop`) when it has a `System` of its own in
`build_system`.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cilf.checkpoint import Checkpoint
from cilf.errors import UsageError
from cilf.model.base import AgeModel
from cilf.model.cilf import CILF, build_model
from cilf.model.mtmsa import MTMSA
from train.data.augment import plain
from train.data.batches import Batch
from train.data.captions import agreement, caption
from train.data.crop_cache import Subset
from train.fit.distillation import Teachers
from train.fit.distributed import gather, gather_rows
from train.fit.imagenet_weights import load_imagenet
from train.fit.losses import label_distribution, total_loss
from train.fit.mtmsa_losses import Labels, labels, multi_task_loss
from train.fit.precision import autocast
from train.fit.recipe import AnyRecipe, MTMSARecipe, Recipe
from train.fit.weight_matching import check_weights


class System(nn.Module, ABC):
    """A network and how it learns.

    Attributes:
        model: the network: what is averaged, stored and given back. All parameters that learn are in it.
    """

    model: Any

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms of the loss by name, and their sum as `loss`.

        Computed here and not from outside, because data parallelism only sees what goes through `forward`. Random
        decisions are functions of the seed and of the batch's step and sample numbers. Where a term compares samples
        with each other it takes those of all processes (`train.fit.distributed.gather`).
        """

    @abstractmethod
    def predict_ages(self, subset: Subset, size: int) -> np.ndarray:
        """(N,) ages in years of the subset's crops at `size` pixels, before any correction."""


def build_system(
    recipe: AnyRecipe, start: dict[str, Tensor] | None = None, teachers: Sequence[Checkpoint] = ()
) -> System:
    """The system that a recipe describes, on the CPU, its network with weights `start` where they are given.

    Raises UsageError where these are of another network, and where the recipe wants teachers and has none, or the other
    way round.
    """
    system: System
    taught = 0.0 if isinstance(recipe, MTMSARecipe) else recipe.loss.taught
    if bool(teachers) != (taught > 0):
        wrong = "learns from no teacher: leave out" if teachers else "learns from teachers: give at least one"
        raise UsageError(f"The recipe {wrong} --teacher.")
    if isinstance(recipe, MTMSARecipe):
        system = MTMSASystem(recipe, MTMSA(recipe.model))
    else:
        system = CilfSystem(recipe, build_model(recipe.model), teachers)
    model: AgeModel = system.model
    model.image_network.to(memory_format=torch.channels_last)
    if recipe.fit.imagenet:
        load_imagenet(model.image_network.get_submodule("trunk"))
    if start is not None:
        advice = "give a checkpoint of the recipe's network as --start, or another --recipe"
        check_weights(start, model.state_dict(), "The checkpoint to start from", advice)
        model.load_state_dict(start)
        model.head.temperature.fill_(1)  # it was fitted after training, and will be again
    return system


class CilfSystem(System):
    """CILF: label distribution, error in years, image-text matching and the grid's score map (METHOD 6 and 7)."""

    def __init__(self, recipe: Recipe, model: CILF, teachers: Sequence[Checkpoint] = ()) -> None:
        super().__init__()
        self.recipe = recipe
        self.model = model
        ages = recipe.model.prompts.num_ages
        self.teachers = Teachers(teachers, model.image_size, ages) if teachers else None

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """See `System.forward`."""
        recipe, model, pixels = self.recipe, self.model, batch.pixels
        seed = recipe.fit.seed
        chance = random.Random(f"{seed}/{batch.step}")  # of the whole step, in all processes the same
        captions = [
            caption(sample, None, random.Random(f"{seed}/{batch.step}/{number}"))
            for sample, number in zip(batch.samples, batch.numbers, strict=True)
        ]
        age = torch.tensor([float(sample.age) for sample in batch.samples])
        target = label_distribution(age, recipe.loss.sigma, recipe.model.prompts.num_ages)
        samples, texts = zip(*gather_rows(list(zip(batch.samples, captions, strict=True))), strict=True)
        matches = agreement(samples, None, texts, recipe.loss.contrastive_sigma).truth
        age, target, matches = (value.to(pixels.device) for value in (age, target, matches))
        if chance.random() < recipe.fit.mixup_share:
            weight = chance.betavariate(recipe.fit.mixup, recipe.fit.mixup)
            pixels, target, age = (_mixed(value, weight) for value in (pixels, target, age))
            by_process = matches.unflatten(0, (-1, len(batch.samples)))
            matches = torch.cat([_mixed(rows, weight) for rows in by_process])
        template = chance.randrange(len(recipe.model.prompts.templates))
        pixels = pixels.to(memory_format=torch.channels_last)
        if self.teachers is not None:
            target = target.lerp(self.teachers(pixels, chance), recipe.loss.taught)
        prediction = model(pixels, model.encode_ages(template))
        text = model.towers.encode_text([item.text for item in captions])
        with torch.autocast(pixels.device.type, enabled=False):
            image, text = gather(prediction.embedding), gather(text)
            return total_loss(prediction, age, target, text, model.scale, matches, recipe.loss, image=image)

    def predict_ages(self, subset: Subset, size: int) -> np.ndarray:
        """See `System.predict_ages`."""
        return predict_ages(self.model, subset, size)


class MTMSASystem(System):
    """MTMSA: the age's Gaussian, gender and race (METHOD 10)."""

    def __init__(self, recipe: MTMSARecipe, model: MTMSA) -> None:
        super().__init__()
        self.recipe = recipe
        self.model = model

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """See `System.forward`."""
        recipe, pixels = self.recipe, batch.pixels
        wanted = labels(batch.samples, recipe.model)
        values = [value.to(pixels.device) for value in (wanted.age, wanted.gender, wanted.race)]
        chance = random.Random(f"{recipe.fit.seed}/{batch.step}")  # in all processes the same
        if chance.random() < recipe.fit.mixup_share:
            weight = chance.betavariate(recipe.fit.mixup, recipe.fit.mixup)
            pixels, *values = (_mixed(value, weight) for value in (pixels, *values))
        prediction = self.model(pixels.to(memory_format=torch.channels_last))
        with torch.autocast(pixels.device.type, enabled=False):
            return multi_task_loss(prediction, Labels(*values), recipe.loss)

    def predict_ages(self, subset: Subset, size: int) -> np.ndarray:
        """See `System.predict_ages`."""
        return predict_ages(self.model, subset, size)


def _mixed(value: Tensor, weight: float) -> Tensor:
    """Mixup (Zhang et al., ICLR 2018). The batch is in random order, so its reverse is a random partner for each."""
    return weight * value + (1 - weight) * value.flip(0)


@torch.inference_mode()
def predict_ages(model: AgeModel, subset: Subset, size: int, batch_size: int = 64) -> np.ndarray:
    """(N,) ages in years of the subset's crops at `size` pixels, before any correction."""
    model.eval()
    age_text = model.encode_ages()
    device = age_text.device
    ages = [torch.zeros(0)]
    for start in range(0, len(subset.rows), batch_size):
        crops = torch.from_numpy(subset.cache.crops[subset.rows[start : start + batch_size]])
        pixels = plain(crops, size, subset.cache.margin).to(device, memory_format=torch.channels_last)
        with autocast(device):
            ages.append(model.describe(pixels, age_text, mirror=False).estimate.age.float().cpu())
    return torch.cat(ages).numpy()
