"""The training loop. Reads top to bottom: processes, network, optimiser, steps, checkpoints.

It runs alone or as one of several processes (`accelerate launch -m train fit …`), each with its part of every batch:
Accelerate picks the device, averages gradients and accumulates them. Everything random is a function of (seed, epoch
or step, sample), so a run that is stopped and resumed ends with the same weights as one that was not, on a CPU bit for
bit, and one that is shared out learns what it would have learned alone.
"""

import logging
import math
import os
import signal
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list, reduce
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cilf.checkpoint import Checkpoint
from cilf.errors import UsageError
from cilf.model.base import AgeModel
from cilf.model.build import build
from train.data.batches import Batch, Cached, Schedule, Source
from train.data.crop_cache import Subset
from train.data.shards import ShardSet, Streamed
from train.files import written_whole
from train.fit import provenance
from train.fit.distributed import gather_rows, one_for_all, start_processes
from train.fit.logger import Watch
from train.fit.objective import System, build_system
from train.fit.optimizer import (
    cosine_rate,
    depthwise_in_float32,
    freeze_statistics,
    make_optimizer,
    pad_small_maps,
    snapshot,
    update_average,
)
from train.fit.recipe import AnyRecipe, FitConfig, Recipe, stored_model
from train.fit.targets import with_targets
from train.fit.text_pretraining import teach_sentences, teach_words
from train.fit.weight_matching import check_weights

log = logging.getLogger(__name__)

STATE = "state.pt"
BEFORE = "state-before.pt"  # of the last run in the same folder, which was not resumed
READ_EVERY = 10  # steps of a GPU
LONGEST_GRADIENT = 5.0  # norm to which a longer one is cut


class Interrupted(Exception):
    """Training stopped early on request; its state is on disk."""


@dataclass
class Run:
    """All that a training run carries from step to step."""

    model: Any
    average: dict[str, Tensor]
    optimizer: Any
    step: int = 0

    def save(self, path: Path, steps: int) -> None:
        """Write the state of a run of `steps` steps so that a crash while writing leaves the previous one."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "steps": steps,
        }
        with written_whole(path) as partial:
            torch.save(state, partial)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `save` wrote."""
        self.model.load_state_dict(state["model"])
        for name, value in self.average.items():
            value.copy_(state["average"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def fit(
    recipe: AnyRecipe,
    train: Sequence[Subset] | Sequence[ShardSet],
    tune: Subset,
    folder: Path,
    *,
    resume: bool = False,
    start: Checkpoint | None = None,
    teachers: Sequence[Checkpoint] = (),
    save_every: float = 240.0,
    stop_at: int | None = None,
    parts: int = 1,
    workers: int | None = None,
) -> AgeModel:
    """Train and give the averaged model.

    Args:
        recipe: what to train and how; its `batch_size` is that of all processes and parts together.
        train: photos to learn from.
        tune: photos on which the averaged model is measured after each epoch.
        folder: `state.pt` (resumable), `log.jsonl`, `run.json`, curves and a picture of the first batch go here. A
            state of before that is not resumed is kept as `state-before.pt`, until the next run.
        resume: continue from `folder/state.pt` where there is one.
        start: has the weights to start from instead of random ones.
        teachers: from whose estimates to learn beside the labels, for a recipe whose loss says so.
        save_every: seconds between checkpoints.
        stop_at: stop before this step as an interrupt would (SIGINT and SIGTERM stop after the current step).
        parts: how many batches one after another make a step, where one does not fit into memory (gradient
            accumulation). The contrastive loss compares within one part of all processes.
        workers: processes that draw batches ahead, and as many that make their targets; None takes none on a CPU, which
            has no time to spare, and some for a GPU.

    Raises:
        Interrupted: the run was stopped; its state is saved.
        ProcessError: another process of the same run has gone.
        DatasetError: the data do not fit the run.
        UsageError: `start` is of another network than the recipe's, the teachers are not what it wants, or the loss is
            no number any more.
    """
    config = recipe.fit
    accelerator = start_processes(config.precision, parts)
    main, device, processes = accelerator.is_main_process, accelerator.device, accelerator.num_processes
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")  # it will hold pictures of the data set
    state_file = folder / STATE

    torch.manual_seed(config.seed)
    system = build_system(recipe, start, teachers)
    if device.type == "cpu":
        in_bf16 = accelerator.mixed_precision == "bf16"
        (depthwise_in_float32 if in_bf16 else pad_small_maps)(system.model.image_network)
    if processes > 1 and device.type == "cuda" and not config.frozen_statistics:
        system.model = convert_sync_batchnorm(system.model)
    if isinstance(recipe, Recipe) and not (resume and state_file.is_file()):
        if config.text_steps:
            teach_words(system.model, recipe)
        if config.sentence_steps:
            teach_sentences(system.model, recipe)
    optimizer = make_optimizer(system.model, config)
    learner, optimizer = accelerator.prepare(system, optimizer)
    run = Run(system.model, snapshot(system.model), optimizer)

    with one_for_all():
        # The first process alone reads and writes: the others may be on machines without this folder.
        [state] = broadcast_object_list([_stored(state_file) if resume and main else None])
        made_of = provenance.describe(recipe, train, start, teachers, processes)
    if main:
        if state is None and state_file.is_file():
            state_file.replace(folder / BEFORE)  # of another run: it must not be taken for this one's
        provenance.write(made_of, folder, resumed=state is not None)
    if state is not None:
        run.restore(state)
        log.info("resumed at step %d", run.step)

    schedule = Schedule(
        seed=config.seed,
        batch_size=config.batch_size,
        balance=config.balance,
        epochs=config.epochs,
        sizes=config.sizes,
        augment=recipe.augment,
        process=accelerator.process_index,
        processes=processes,
        parts=parts,
    )
    source = _source(train, schedule)
    per_epoch = source.steps_per_epoch
    steps = schedule.steps(per_epoch)
    interrupt = _Interrupt()
    saved = time.monotonic()
    # The fused attention's gradient is the slower one on a CPU for texts of a dozen tokens.
    kernels = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
    watch = Watch(folder, steps, run.step, config.batch_size, shown=main)
    drawers = _workers(workers, device)
    drawn = source.batches(run.step, drawers, device)
    with interrupt, kernels, one_for_all(), watch:
        for batches in with_targets(drawn, system.measure, system.describe, drawers):
            watch.loaded(batches[0])
            rate = cosine_rate(run.step, steps, config.learning_rate, config.warmup)
            own = _step(learner, run, batches, rate, config, accelerator)
            epoch_ends = run.step % per_epoch == 0 or run.step == steps
            wish = interrupt.raised or run.step == stop_at
            if not (epoch_ends or wish or _losses_read(run.step, accelerator)):
                watch.step(run.step, {}, rate)
                continue
            losses, stop = _agreed(own, wish)
            if not math.isfinite(losses["loss"]):
                raise UsageError(
                    f"The loss is no number any more at step {run.step}; lower the recipe's learning_rate. What "
                    f"{folder} holds is of before."
                )
            watch.step(run.step, losses, rate)
            if main and (run.step == steps or stop or time.monotonic() - saved > save_every):
                run.save(state_file, steps)
                saved = time.monotonic()
            if epoch_ends:
                error = _tune_error(run, system, tune, schedule.size(run.step - 1, steps), accelerator)
                watch.epoch(math.ceil(run.step / per_epoch), run.step, error, losses)
            if stop:
                raise Interrupted(
                    f"Stopped at step {run.step} of {steps}; run it again to go on from there (`fit` and "
                    "`cross-dataset` with --resume)."
                )
    run.model.load_state_dict(run.average)
    model: AgeModel = run.model.eval()
    return model


def averaged_model(recipe: AnyRecipe, folder: Path) -> tuple[AgeModel, int]:
    """The averaged model of a run, in eval mode, and the step it is of.

    Raises UsageError where the run is of another network than the recipe's, or unfinished.
    """
    state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    model = build(stored_model(recipe))
    advice = "give the recipe that it was trained by as --recipe"
    check_weights(state["average"], model.state_dict(), f"The run in {folder}", advice)
    step = state["step"]
    steps = state.get("steps", step)  # not in states from before it was put down
    if step < steps:
        raise UsageError(
            f"The run in {folder} stopped at step {step} of {steps}; finish it with `fit --resume`."
        )
    model.load_state_dict(state["average"])
    return model.eval(), step


def _source(train: Sequence[Subset] | Sequence[ShardSet], schedule: Schedule) -> Source:
    shards = [part for part in train if isinstance(part, ShardSet)]
    subsets = [part for part in train if isinstance(part, Subset)]
    return Streamed(shards, schedule) if shards else Cached(subsets, schedule)


def _stored(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _workers(workers: int | None, device: torch.device) -> int:
    if workers is not None or device.type == "cpu":
        return workers or 0
    return min(6, max(1, (os.cpu_count() or 1) // (2 * max(1, torch.cuda.device_count())) - 1))


def _losses_read(step: int, accelerator: Accelerator) -> bool:
    """Whether the losses of a step are read. To read them a GPU must have finished the step, and has not been given the
    next one yet; alone it need not be asked each time. Several processes agree at each step whether to stop."""
    alone_on_gpu = accelerator.device.type != "cpu" and accelerator.num_processes == 1
    return not alone_on_gpu or step % READ_EVERY == 0


def _step(
    learner: nn.Module,
    run: Run,
    batches: list[Batch],
    rate: float,
    config: FitConfig,
    accelerator: Accelerator,
) -> dict[str, Tensor]:
    """One step of the optimiser, at a learning rate, from this process' batches; gives the terms of the loss."""
    for group in run.optimizer.param_groups:
        group["lr"] = group["rate"] * rate
    # What the network itself draws (stochastic depth) must be the same after a resumption, and differ among processes.
    drawn = np.random.SeedSequence((config.seed, run.step, accelerator.process_index))
    torch.manual_seed(int(drawn.generate_state(1)[0]))
    learner.train()
    if config.frozen_statistics:
        freeze_statistics(learner)
    terms = []
    for batch in batches:
        with accelerator.accumulate(learner):
            losses = learner(batch.to(accelerator.device))
            accelerator.backward(losses["loss"])
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(learner.parameters(), LONGEST_GRADIENT)
            run.optimizer.step()
            run.optimizer.zero_grad()
        terms.append({name: value.detach() for name, value in losses.items()})
    run.step += 1
    update_average(run.average, run.model, run.step, config.ema_decay)
    return {name: torch.stack([losses[name] for losses in terms]).mean() for name in terms[0]}


def _agreed(losses: dict[str, Tensor], wish: bool) -> tuple[dict[str, float], bool]:
    """Mean losses of all processes, and whether any of them wishes to stop: they must all stop after the same step."""
    values = torch.stack([*losses.values()]).float()
    *means, wishes = reduce(torch.cat([values, values.new_tensor([float(wish)])]), "mean").tolist()
    return dict(zip(losses, means, strict=True)), wishes > 0


def _tune_error(run: Run, system: System, tune: Subset, size: int, accelerator: Accelerator) -> float:
    """Mean absolute error in years of the averaged weights at the size that they were trained at last: another would
    tell more of the change of size than of the weights. The running weights are put back. Each process measures its
    share of the photos."""
    running = snapshot(run.model)
    run.model.load_state_dict(broadcast(run.average))
    mine = tune.rows[accelerator.process_index :: accelerator.num_processes]
    ages = system.predict_ages(replace(tune, rows=mine), size)
    run.model.load_state_dict(running)
    truth = np.array([tune.cache.samples[row].age for row in mine])
    return float(np.concatenate(gather_rows([np.abs(ages - truth)])).mean())


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
