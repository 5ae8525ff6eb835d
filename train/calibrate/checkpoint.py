"""A finished training run becomes a checkpoint: weight averaging, calibration, record of the run, report page."""

import logging
from dataclasses import replace
from pathlib import Path

from cilf.checkpoint import CONFIG, Checkpoint, read_config, save
from train.calibrate import run_report
from train.calibrate.calibrate import calibrate, recalibrate
from train.calibrate.weight_averaging import blend
from train.data.run_data import RunData
from train.fit import provenance
from train.fit.loop import averaged_model
from train.fit.recipe import AnyRecipe

log = logging.getLogger(__name__)


def save_run(
    recipe: AnyRecipe, data: RunData, run: Path, output: Path, start: Checkpoint | None = None
) -> None:
    """Calibrate the finished run in the folder `run` and save its checkpoint in `output`.

    With `start`, the checkpoint that the run started from, the weights are averaged with those of `start` by the share
    that is best on the validation photos (`train.calibrate.weight_averaging`).

    Raises:
        UsageError: the run is unfinished, or it or `start` is of another network than the recipe's.
        DatasetError: a part of the data has no photos.
    """
    held, tune, cal = data.held, data.tune, data.cal
    model, step = averaged_model(recipe, run)
    share = blend(model, start.model.state_dict(), tune, mirror=recipe.mirror) if start else 0.0
    ensemble, config = calibrate(model, recipe, held, tune, cal, step, share)
    config = replace(config, training=config.training | provenance.read(run))
    save(output, model, ensemble, config)
    log.info("%s", run_report.after_calibration(model, ensemble, config, tune, cal, run))


def is_checkpoint_of(run: Path, output: Path) -> bool:
    """Whether `output` holds the checkpoint that `save_run` made of the run in the folder `run`."""
    if not (output / CONFIG).is_file():
        return False
    training = read_config(output).training
    return all(training.get(name) == value for name, value in provenance.read(run).items())


def save_recalibrated(checkpoint: Checkpoint, recipe: AnyRecipe, data: RunData, output: Path) -> None:
    """Calibrate the weights of a checkpoint again and save the result in `output`."""
    save(output, *recalibrate(checkpoint, recipe, data.held, data.tune, data.cal))
