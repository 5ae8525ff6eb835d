"""A finished training run becomes a checkpoint: weight averaging, calibration, record of the run, report page."""

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from cilf.checkpoint import CONFIG, Checkpoint, read_config, save
from cilf.errors import UsageError
from cilf.model.registry import family_of
from train.calibrate import run_report
from train.calibrate.calibrate import Photos, calibrate, recalibrate
from train.calibrate.weight_averaging import blend
from train.data.run_data import RunData
from train.fit import provenance
from train.fit.loop import averaged_model
from train.fit.objective import finish
from train.fit.recipe import AnyRecipe

log = logging.getLogger(__name__)


def save_run(
    recipe: AnyRecipe,
    data: RunData,
    run: Path,
    output: Path,
    views: Path,
    processes: int = 1,
    *,
    start: Checkpoint | None = None,
    training: AbstractContextManager[None] | None = None,
) -> None:
    """Calibrate the finished run in the folder `run` and save its checkpoint in `output`.

    Args:
        recipe: of the run.
        data: its photos.
        run: folder of the run.
        output: folder of the checkpoint.
        views: folder where the network's outputs for all views of the photos are kept between calls.
        processes: that cut out faces.
        start: the checkpoint that the run started from, where its weights are to be averaged with the run's by the
            share that is best on held-out and validation photos (`train.calibrate.weight_averaging`).
        training: entered while the last stage of training runs, such as LRA-GNN's walk.

    Raises:
        UsageError: the run is unfinished, or it or `start` is of another network than the recipe's.
        DatasetError: a part of the data has no photos.
    """
    tune, photos = data.tune, _photos(data)
    model, step = averaged_model(recipe, run)
    with training or nullcontext():
        finish(model, recipe, data.train)
    share = 0.0
    if start:
        new_texts = recipe.fit.text_steps > 0
        unseen = (*data.held, tune)
        share = blend(model, start.model.state_dict(), unseen, mirror=recipe.mirror, new_texts=new_texts)
    result = calibrate(model, recipe, photos, views, step, share, processes=processes)
    config = replace(result.config, training=result.config.training | provenance.read(run))
    save(output, model, result.errors, config, result.familiarity)
    log.info("%s", run_report.after_calibration(result, tune, run))


def is_checkpoint_of(run: Path, output: Path) -> bool:
    """Whether `output` holds the checkpoint that `save_run` made of the run in the folder `run`."""
    made_of = provenance.read(run)
    if not made_of or not (output / CONFIG).is_file():
        return False
    training = read_config(output).training
    return all(training.get(name) == value for name, value in made_of.items())


def save_recalibrated(
    checkpoint: Checkpoint, recipe: AnyRecipe, data: RunData, output: Path, views: Path, processes: int = 1
) -> None:
    """Calibrate the weights of a checkpoint again and save the result in `output`; arguments as of `save_run`.

    Raises UsageError where the checkpoint is of another system than the recipe.
    """
    own, of_recipe = family_of(checkpoint.config.model).title, family_of(recipe.model).title
    if own != of_recipe:
        raise UsageError(
            f"{checkpoint.source} is of {own} and the recipe of {of_recipe}; give one of {own} as --recipe"
        )
    # By PyTorch the model would change for inference, and it is to be saved.
    network = checkpoint.network() if checkpoint.graph else None
    result = recalibrate(checkpoint, recipe, _photos(data), views, network=network, processes=processes)
    save(output, checkpoint.model, result.errors, result.config, result.familiarity)


def _photos(data: RunData) -> Photos:
    held = [sample for part in data.held for sample in part.samples]
    return Photos(held, data.tune.samples, data.cal.samples, data.groups)
