"""The training loop. Reads top to bottom: data order, model, optimiser, steps, checkpoints.

Everything random is a function of (seed, epoch or step, sample), so a run that is stopped and resumed ends with the
same weights, bit for bit, as one that was not.
"""

import json
import logging
import math
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from cilf.model import CILF, build_model
from train.augment import augment, draw, plain
from train.captions import agreement, caption
from train.crops import CropCache, load
from train.datasets import Sample
from train.imagenet import load_imagenet
from train.losses import label_distribution, total_loss
from train.recipe import FitConfig, Recipe

log = logging.getLogger(__name__)

STATE = "state.pt"
AGE_SMOOTHING = 2.0  # years; how common an age is counts its neighbours too


@dataclass(frozen=True)
class Subset:
    """Some rows of a crop cache; `share` of them are drawn each epoch."""

    cache: CropCache
    rows: np.ndarray
    share: float = 1.0


def subset(folder: Path, splits: dict[str, str], split: str, share: float = 1.0) -> Subset:
    """The rows of the crop cache in `folder` that `splits` (file name → split) puts into `split`."""
    cache = load(folder)
    rows = [row for row, sample in enumerate(cache.samples) if splits.get(sample.name) == split]
    return Subset(cache, np.array(rows, dtype=int), share)


@dataclass
class Run:
    """All that a training run carries from step to step."""

    model: CILF
    average: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0

    def save(self, path: Path) -> None:
        """Write the state so that a crash while writing leaves the previous one."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continue from what `save` wrote."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def fit(
    recipe: Recipe,
    train: list[Subset],
    tune: Subset,
    folder: Path,
    *,
    resume: bool = False,
    start: dict[str, Tensor] | None = None,
    save_every: float = 240.0,
    stop_at: int | None = None,
) -> CILF:
    """Train and give the averaged model.

    Args:
        recipe: what to train and how.
        train: photos to learn from.
        tune: photos on which the averaged model is measured after each epoch.
        folder: `state.pt` (resumable) and `log.jsonl` are written here.
        resume: continue from `folder/state.pt` where there is one.
        start: weights to start from instead of random ones.
        save_every: seconds between checkpoints.
        stop_at: stop before this step as an interrupt would (SIGINT and SIGTERM stop after the current step).

    Raises:
        Interrupted: the run was stopped; its state is saved.
    """
    config = recipe.fit
    folder.mkdir(parents=True, exist_ok=True)
    state_file = folder / STATE
    torch.manual_seed(config.seed)
    model = build_model(recipe.model)
    model.towers.clip.visual.to(memory_format=torch.channels_last)
    if config.imagenet:
        load_imagenet(model.towers.clip.visual.trunk)
    if start is not None:
        model.load_state_dict(start)
        model.head.temperature.fill_(1)  # it was fitted after training, and will be again
    if config.precision == "bf16":
        depthwise_in_float32(model.towers.clip.visual)
    run = Run(model, _snapshot(model), _optimizer(model, config))
    if resume and state_file.is_file():
        run.load(state_file)
        log.info("resumed at step %d", run.step)

    per_epoch = sum(int(len(subset.rows) * subset.share) for subset in train) // config.batch_size
    steps = per_epoch * config.epochs
    interrupt = _Interrupt()
    saved = time.monotonic()
    bar = tqdm(total=steps, initial=run.step, desc="fit", unit="step", smoothing=0.05)
    # The fused attention's gradient is the slower one on a CPU for texts of a dozen tokens.
    with interrupt, sdpa_kernel(SDPBackend.MATH):
        while run.step < steps:
            epoch, first = divmod(run.step, per_epoch)
            for batch in _batches(train, epoch, first, per_epoch, recipe):
                losses = _step(run, batch, steps, recipe)
                bar.update()
                bar.set_postfix({name: f"{value:.3f}" for name, value in losses.items()}, refresh=False)
                if interrupt.raised or run.step == stop_at:
                    run.save(state_file)
                    raise Interrupted(f"Stopped at step {run.step} of {steps}; continue with --resume.")
                if time.monotonic() - saved > save_every:
                    run.save(state_file)
                    saved = time.monotonic()
            run.save(state_file)
            error = _tune_error(run, tune, _size(run.step - 1, steps, config))
            bar.write(f"epoch {epoch + 1}: tune MAE {error:.3f}")
            _append(folder / "log.jsonl", {"epoch": epoch + 1, "step": run.step, "tune_mae": error, **losses})
    bar.close()
    model.load_state_dict(run.average)
    return model.eval()


def averaged_model(recipe: Recipe, folder: Path) -> tuple[CILF, int]:
    """The averaged model of a run, in eval mode, and the step it is of."""
    state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    model = build_model(replace(recipe.model, clip=replace(recipe.model.clip, pretrained=None)))
    model.load_state_dict(state["average"])
    return model.eval(), state["step"]


class Interrupted(Exception):
    """Training stopped early on request; its state is on disk."""


@dataclass(frozen=True)
class Batch:
    """One step's data: crops (B, S, S, 3) uint8, their samples and sample numbers."""

    crops: Tensor
    margin: int
    samples: list[Sample]
    numbers: np.ndarray
    epoch: int


def _batches(train: list[Subset], epoch: int, first: int, count: int, recipe: Recipe) -> Iterator[Batch]:
    """Batches `first` to `count` of one epoch, in the order that (seed, epoch) gives."""
    generator = np.random.default_rng((recipe.fit.seed, epoch))
    picked = [
        (part, row)
        for part, subset in enumerate(train)
        for row in draw_rows(subset, recipe.fit.balance, generator)
    ]
    order = generator.permutation(len(picked))
    size = recipe.fit.batch_size
    offsets = np.cumsum([0, *(len(subset.cache.samples) for subset in train)])
    for index in range(first, count):
        chosen = [picked[i] for i in order[index * size : (index + 1) * size]]
        crops = np.stack([train[part].cache.crops[row] for part, row in chosen])
        samples = [train[part].cache.samples[row] for part, row in chosen]
        numbers = np.array([offsets[part] + row for part, row in chosen])
        yield Batch(torch.from_numpy(crops), train[0].cache.margin, samples, numbers, epoch)


def draw_rows(subset: Subset, balance: float, generator: np.random.Generator) -> np.ndarray:
    """One epoch's rows of a subset: `share` of its number, rare ages preferred.

    A photo that is expected 1.3 times comes once or twice, never 0 or 3 times (systematic sampling).
    """
    count = int(len(subset.rows) * subset.share)
    ages = np.array([min(subset.cache.samples[row].age, 100) for row in subset.rows], dtype=int)
    common = gaussian_filter1d(np.bincount(ages, minlength=101).astype(float), AGE_SMOOTHING)
    expected = common[ages] ** -balance
    expected *= count / expected.sum()
    order = generator.permutation(len(ages))
    edges = np.cumsum(expected[order])
    edges[-1] = count  # free of rounding
    times = np.diff(np.floor(edges + generator.random()), prepend=0).astype(int)
    return np.repeat(subset.rows[order], times)


def depthwise_in_float32(tower: nn.Module) -> None:
    """Keep autocast away from depth-wise convolutions: their bfloat16 gradients are far slower on a CPU."""
    for module in tower.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = _in_float32(module.forward)  # type: ignore[assignment, method-assign]


def _in_float32(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def wrapped(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return forward(x.float()).to(x.dtype)

    return wrapped


def _step(run: Run, batch: Batch, steps: int, recipe: Recipe) -> dict[str, float]:
    """One step of the optimiser; gives the terms of the loss."""
    config = recipe.fit
    for group in run.optimizer.param_groups:
        group["lr"] = group["rate"] * cosine_rate(run.step, steps, config.learning_rate, config.warmup)
    size = _size(run.step, steps, config)
    draws = draw(config.seed, batch.epoch, batch.numbers)
    pixels = augment(batch.crops, size, batch.margin, draws, recipe.augment)
    age = torch.tensor([float(sample.age) for sample in batch.samples])
    target = label_distribution(age, recipe.loss.sigma, recipe.model.prompts.num_ages)
    chance = random.Random(f"{config.seed}/{run.step}")
    captions = [caption(sample, chance) for sample in batch.samples]
    matches = agreement(batch.samples, captions, recipe.loss.contrastive_sigma)
    if chance.random() < config.mixup_share:
        # The batch is in random order, so its reverse is a random partner for each sample.
        weight = chance.betavariate(config.mixup, config.mixup)
        pixels, target, age, matches = (
            weight * value + (1 - weight) * value.flip(0) for value in (pixels, target, age, matches)
        )
    template = chance.randrange(len(recipe.model.prompts.templates))

    model = run.model.train()
    with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
        prediction = model(pixels.to(memory_format=torch.channels_last), model.encode_ages(template))
        text = model.towers.encode_text([item.text for item in captions])
    losses = total_loss(prediction, age, target, text, model.scale, matches, recipe.loss)
    run.optimizer.zero_grad()
    losses["loss"].backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    run.optimizer.step()
    run.step += 1
    _update_average(run, config.ema_decay)
    return {name: value.item() for name, value in losses.items()}


def _size(step: int, steps: int, config: FitConfig) -> int:
    return next(size for share, size in reversed(config.sizes) if step >= share * steps)


def cosine_rate(step: int, steps: int, peak: float, warmup: float) -> float:
    """Learning rate at a step: linear warm-up over a share of all steps, then half a cosine down to 0."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def _optimizer(model: nn.Module, config: FitConfig) -> torch.optim.Optimizer:
    """AdamW; only matrices and filters are decayed, not vectors, scalars, embeddings or learned tokens."""
    tokens = ("embedding", "prompts.context", "prompts.anchors", "tags", "gamma")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        prefixes = [prefix for prefix in config.rates if name.startswith(prefix)]
        rate = config.rates[max(prefixes, key=len)] if prefixes else 1.0
        parameter.requires_grad_(rate > 0)
        exempt = parameter.ndim < 2 or any(part in name for part in tokens)
        if rate > 0:
            groups.setdefault((rate, 0.0 if exempt else config.weight_decay), []).append(parameter)
    options = [
        {"params": parameters, "rate": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
    return torch.optim.AdamW(options, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def _snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@torch.no_grad()
def _update_average(run: Run, decay: float) -> None:
    """Exponential moving average; it starts short, so that the random start is soon forgotten."""
    weight = 1 - min(decay, (1 + run.step) / (10 + run.step))
    for name, value in run.model.state_dict().items():
        average = run.average[name]
        if average.is_floating_point():
            average.lerp_(value, weight)
        else:
            average.copy_(value)


@torch.inference_mode()
def predict_ages(model: CILF, subset: Subset, size: int, batch_size: int = 64) -> np.ndarray:
    """(N,) ages in years of the subset's crops at `size` pixels, before any correction."""
    model.eval()
    age_text = model.encode_ages()
    ages = []
    for start in range(0, len(subset.rows), batch_size):
        crops = torch.from_numpy(subset.cache.crops[subset.rows[start : start + batch_size]])
        pixels = plain(crops, size, subset.cache.margin)
        with torch.autocast("cpu", torch.bfloat16):
            ages.append(model(pixels.to(memory_format=torch.channels_last), age_text).estimate.age.float())
    return torch.cat(ages).numpy()


def _tune_error(run: Run, tune: Subset, size: int) -> float:
    """Mean absolute error in years of the averaged weights at the size that they were trained at last: another would
    tell more of the change of size than of the weights. The running weights are put back."""
    running = _snapshot(run.model)
    run.model.load_state_dict(run.average)
    ages = predict_ages(run.model, tune, size)
    run.model.load_state_dict(running)
    truth = np.array([tune.cache.samples[row].age for row in tune.rows])
    return float(np.abs(ages - truth).mean())


def _append(path: Path, row: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


class _Interrupt:
    """While open, SIGINT and SIGTERM only set `raised`."""

    raised = False

    def __enter__(self) -> None:
        self._before = {
            number: signal.signal(number, self._set) for number in (signal.SIGINT, signal.SIGTERM)
        }

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _set(self, number: int, frame: FrameType | None) -> None:
        self.raised = True
