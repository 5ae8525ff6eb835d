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
from cilf.model.build import build
from cilf.model.cilf import CILF
from cilf.model.mtmsa import MTMSA
from cilf.model.nodes import GridModel
from train.data.attributes import ATTRIBUTES
from train.data.augmentation.augment import Draws, second_view
from train.data.batches import Batch, plain_batches
from train.data.captions import agreement
from train.data.crop_cache import Subset
from train.data.photo_attributes import photo_attributes
from train.fit.distillation import Teachers
from train.fit.distributed import gather, gather_rows, single
from train.fit.imagenet_weights import load_imagenet
from train.fit.losses.ages import true_ages
from train.fit.losses.cilf import AttributePairs, Texts, label_distribution, total_loss
from train.fit.losses.mtmsa import Labels, MTMSALabels, multi_task_loss
from train.fit.precision import autocast
from train.fit.recipe import AnyRecipe, GridRecipe, MTMSARecipe, Recipe
from train.fit.targets import Captioner, Describe, TextTargets, labelled
from train.fit.weight_matching import carried_over, check_weights, take_trunk


class System(nn.Module, ABC):
    """A network and how it learns.

    Attributes:
        model: the network: what is averaged, stored and given back. All parameters that learn are in it.
    """

    model: Any

    @property
    @abstractmethod
    def describe(self) -> Describe:
        """What makes a batch's targets of its labels; worker processes do so ahead of the loop."""

    def measure(self, batch: Batch) -> Tensor | None:
        """What the targets need to know of a batch's pixels, on their device; None: nothing."""
        return None

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted terms of the loss by name, and their sum as `loss`.

        Computed here and not from outside, because data parallelism only sees what goes through `forward`. Random
        decisions are functions of the seed and of the batch's step and sample numbers. Where a term of CILF's compares
        samples with each other it takes those of all processes (`train.fit.distributed.gather`); MCGRL contrasts
        within a process, and MTMSA divides by the labels of its own.
        """

    def targets(self, batch: Batch) -> Any:
        """A batch's targets on the device of its pixels, made now where they were not made ahead."""
        made = batch.targets or self.describe(labelled(batch, self.measure(batch)))
        return made.to(batch.pixels.device)

    @abstractmethod
    def predict_ages(self, subset: Subset, size: int) -> np.ndarray:
        """(N,) ages in years of the subset's crops at `size` pixels, before any correction."""


def build_system(
    recipe: AnyRecipe, start: Checkpoint | None = None, teachers: Sequence[Checkpoint] = ()
) -> System:
    """The system that a recipe describes, on the CPU, its network with the weights of `start` where it is given.

    Raises UsageError where these are of another network that differs in more than its words (`carried_over`) unless the
    recipe wants their trunk alone, and where the recipe wants teachers or a trunk and has none, or the other way round.
    """
    if bool(teachers) != recipe.distils:
        wrong = "learns from no teacher: leave out" if teachers else "learns from teachers: give at least one"
        raise UsageError(f"The recipe {wrong} --teacher.")
    model = build(recipe.model)
    system = _system(recipe, model, teachers)
    model.image_network.to(memory_format=torch.channels_last)
    if recipe.fit.imagenet:
        load_imagenet(model.image_network.get_submodule("trunk"), recipe.trunk)
    if recipe.fit.trunk_of_start:
        if start is None:
            raise UsageError("The recipe starts from the trunk of another checkpoint: give one as --start.")
        take_trunk(*(network.image_network.get_submodule("trunk") for network in (model, start.model)))
    elif start is not None:
        weights, network = start.model.state_dict(), model.state_dict()
        if isinstance(model, CILF) and isinstance(start.model, CILF):
            weights = carried_over(weights, network, start.model.towers.config, model.towers.config)
        advice = "give a checkpoint of the recipe's network as --start, or another --recipe"
        check_weights(weights, network, "The checkpoint to start from", advice)
        model.load_state_dict(weights)
        model.head.temperature.fill_(1)  # it was fitted after training, and will be again
    return system


class CilfSystem(System):
    """CILF: label distribution, error in years, image-text matching and the grid's score map (METHOD 6 and 7)."""

    def __init__(self, recipe: Recipe, model: CILF, teachers: Sequence[Checkpoint] = ()) -> None:
        super().__init__()
        self.recipe = recipe
        self.model = model
        self.teachers = Teachers(teachers, self.ages) if teachers else None

    @property
    def describe(self) -> Describe:
        """See `System.describe`."""
        towers, recipe = self.model.towers, self.recipe
        return Captioner(
            towers.config, towers.clip.context_length, recipe.fit.seed, recipe.loss.contrastive_sigma
        )

    def measure(self, batch: Batch) -> Tensor | None:
        """What captions say of the picture itself, as it is after augmentation (`train.data.photo_attributes`)."""
        return photo_attributes(batch.pixels) if self.recipe.loss.attributes else None

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """See `System.forward`."""
        recipe, model, pixels = self.recipe, self.model, batch.pixels
        # Of the whole step, in all processes the same.
        chance = random.Random(f"{recipe.fit.seed}/{batch.step}")
        targets = self.targets(batch)
        age, target = targets.age, label_distribution(targets.age, recipe.loss.sigma, self.ages)
        matches, unknown = self._matches(batch, targets)
        truth, measured = _measured(targets.attributes, batch)
        if chance.random() < recipe.fit.mixup_share:
            weight = chance.betavariate(recipe.fit.mixup, recipe.fit.mixup)
            pixels, target, age = (_mixed(value, weight) for value in (pixels, target, age))
            count = len(batch.samples)
            matches = torch.cat([_mixed(rows, weight) for rows in matches.split(count)])
            unknown = torch.cat([rows | rows.flip(0) for rows in unknown.split(count)])
            truth, measured = _mixed(truth, weight), measured & measured.flip(0)
        template = chance.randrange(len(recipe.model.prompts.templates))
        with torch.autocast(pixels.device.type, enabled=False):
            pixels = _with_second_views(pixels, batch.draws) if recipe.loss.consistency else pixels
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        if self.teachers is not None:
            distilled = self.teachers(pixels[: len(target)], chance)
            target = target.lerp(distilled, recipe.loss.distillation)
        prediction = model(pixels, model.encode_ages(template))
        text = model.towers.encode_ids(targets.ids)
        pairs = None
        if targets.pair_ids is not None and recipe.loss.attributes:
            of_pairs = model.towers.encode_ids(targets.pair_ids)
            known = gather(truth), gather(measured.float()) > 0
            pairs = AttributePairs(of_pairs[::2], of_pairs[1::2], *known)
        with torch.autocast(pixels.device.type, enabled=False):
            texts = Texts(gather(text), model.scale, matches, unknown, pairs)
            return total_loss(prediction, age, target, texts, recipe.loss, gather=gather)

    @property
    def ages(self) -> int:
        """K, how many ages there are."""
        return self.recipe.model.prompts.num_ages

    def _matches(self, batch: Batch, targets: TextTargets) -> tuple[Tensor, Tensor]:
        """Which texts are true of which photos, of all processes, and of which pairs nothing is known."""
        if single():
            return targets.matches, targets.unknown
        captions, samples = gather_rows(targets.captions), gather_rows(batch.samples)
        attributes = None
        if targets.attributes is not None:
            attributes = torch.stack(gather_rows(list(targets.attributes.cpu())))
        matches = agreement(samples, attributes, captions, self.recipe.loss.contrastive_sigma)
        device = targets.matches.device
        return matches.truth.to(device), matches.unknown.to(device)

    def predict_ages(self, subset: Subset, size: int) -> np.ndarray:
        """See `System.predict_ages`."""
        return predict_ages(self.model, subset, size)


class MTMSASystem(System):
    """MTMSA: the age's Gaussian, gender and race (METHOD 10)."""

    def __init__(self, recipe: MTMSARecipe, model: MTMSA) -> None:
        super().__init__()
        self.recipe = recipe
        self.model = model

    @property
    def describe(self) -> Describe:
        """See `System.describe`."""
        return MTMSALabels(self.recipe.model)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """See `System.forward`."""
        recipe, pixels = self.recipe, batch.pixels
        values = list(vars(self.targets(batch)).values())
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


class GridSystem(System):
    """A network on a trunk's grid that learns from ages alone: LRA-GNN and MCGRL (METHOD 15 and 16)."""

    def __init__(self, recipe: GridRecipe, model: GridModel) -> None:
        super().__init__()
        self.recipe = recipe
        self.model = model

    @property
    def describe(self) -> Describe:
        """See `System.describe`."""
        return true_ages

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """See `System.forward`."""
        recipe, pixels, ages = self.recipe, batch.pixels, self.targets(batch)
        chance = random.Random(f"{recipe.fit.seed}/{batch.step}")  # in all processes the same
        if chance.random() < recipe.fit.mixup_share:
            weight = chance.betavariate(recipe.fit.mixup, recipe.fit.mixup)
            pixels, ages = _mixed(pixels, weight), ages.mixed(weight)
        cells = self.model.cells(pixels.to(memory_format=torch.channels_last))
        return recipe.loss.terms(self.model, cells, ages)

    def predict_ages(self, subset: Subset, size: int) -> np.ndarray:
        """See `System.predict_ages`; without the walk, which is fitted at the end."""
        return predict_ages(self.model, subset, size)


def _measured(attributes: Tensor | None, batch: Batch) -> tuple[Tensor, Tensor]:
    """Of each photo and attribute how clearly it is there, in [0, 1], and whether that is known."""
    if attributes is None:
        attributes = torch.zeros(len(batch.samples), len(ATTRIBUTES), device=batch.pixels.device)
    return (attributes.float() + 1) / 2, attributes != 0


def _mixed(value: Tensor, weight: float) -> Tensor:
    """Mixup (Zhang et al., ICLR 2018). The batch is in random order, so its reverse is a random partner for each."""
    return weight * value + (1 - weight) * value.flip(0)


def _with_second_views(pixels: Tensor, draws: Draws | None) -> Tensor:
    """The batch, and after it second views of its first half."""
    if draws is None:
        return pixels
    half = len(pixels) // 2
    return torch.cat([pixels, second_view(pixels[:half], draws.first(half))])


@torch.inference_mode()
def predict_ages(model: AgeModel, subset: Subset, size: int, batch_size: int = 128) -> np.ndarray:
    """(N,) ages in years of the subset's crops at `size` pixels, before any correction."""
    model.eval()
    age_text = model.encode_ages()
    device = age_text.device
    ages = [torch.zeros(0, device=device)]
    for pixels in plain_batches(subset, size, device, batch_size):
        with autocast(device):
            ages.append(model.describe(pixels, age_text, mirror=False).estimate.age.float())
    return torch.cat(ages).cpu().numpy()


def _system(recipe: AnyRecipe, model: Any, teachers: Sequence[Checkpoint]) -> System:
    if isinstance(recipe, Recipe):
        return CilfSystem(recipe, model, teachers)
    return MTMSASystem(recipe, model) if isinstance(recipe, MTMSARecipe) else GridSystem(recipe, model)


def finish(model: AgeModel, recipe: AnyRecipe, train: Sequence[Subset]) -> None:
    """Fit what the loop leaves to a stage of its own, where the family has such a part."""
    if isinstance(recipe, GridRecipe):
        recipe.loss.last_stage(model, recipe, train)
