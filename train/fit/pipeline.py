"""A pipeline: the stages that lead from photos to a checkpoint, read from one file of `train/recipes/pipelines`."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from cilf.errors import UsageError
from train.fit.recipe import RECIPES

PIPELINES = RECIPES / "pipelines"


@dataclass(frozen=True)
class Stage:
    """One training run and the checkpoint made of it.

    Attributes:
        recipe: a name in `train/recipes`, or a path.
        name: of the stage, for the stages after it; that of the recipe where it is not given.
        start: the checkpoint to start from; "" starts from the weights that the recipe names.
        teachers: the checkpoints to distil from, for a recipe whose loss says so.
        averaging: the weights are averaged with those of `start` (WiSE-FT, `train.calibrate.weight_averaging`).

    `start` and `teachers` are names of earlier stages, or what `cilf.checkpoint.load` takes: a folder, a bundled
    checkpoint, or a repository on the Hub.
    """

    recipe: str
    name: str
    start: str = ""
    teachers: tuple[str, ...] = ()
    averaging: bool = False


@dataclass(frozen=True)
class Pipeline:
    """Stages in their order; the last one gives the checkpoint.

    Attributes:
        name: of the pipeline.
        stages: at least one.
        crop_size: side of the crops in pixels, without the margin of an eighth on each side.
        export: an ONNX graph is stored with the weights.
        compare_with: whose predictions for the same photos the model card compares with these; "" for nobody's.
        studies: commands of `python -m train` that the card names for its other figures.
        start_commit: of this repository, whose bundled checkpoint the first stage starts from; "" where that is today's
            or none.
    """

    name: str
    stages: tuple[Stage, ...]
    crop_size: int
    export: bool = False
    compare_with: str = ""
    studies: tuple[str, ...] = ()
    start_commit: str = ""

    @property
    def margin(self) -> int:
        """Pixels of context on each side of a crop."""
        return self.crop_size // 8


def read_pipeline(name: str | Path) -> Pipeline:
    """Read a pipeline by its name in `train/recipes/pipelines`, or by its path.

    Raises:
        FileNotFoundError: there is none.
        UsageError: a key is unknown or missing, or two stages have one name, or a stage averages without a start.
    """
    path = PIPELINES / f"{name}.toml"
    if not path.is_file():
        path = Path(name)
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    try:
        stages = tuple(_stage(**stage) for stage in values.pop("stages"))
        pipeline = Pipeline(path.stem, stages, **values | {"studies": tuple(values.get("studies", ()))})
    except (TypeError, KeyError) as error:
        raise UsageError(f"the pipeline '{path}' has a key too many or too few: {error}") from error
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names) or not names:
        raise UsageError(f"the pipeline '{path}' needs stages of different names; give each its `name`")
    for stage in stages:
        if stage.averaging and not stage.start:
            raise UsageError(f"the stage '{stage.name}' of '{path}' averages weights: give it a `start`")
    return pipeline


def _stage(recipe: str, name: str = "", teachers: tuple[str, ...] = (), **rest: object) -> Stage:
    return Stage(recipe, name or Path(recipe).stem, teachers=tuple(teachers), **rest)  # type: ignore[arg-type]
