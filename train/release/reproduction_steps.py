"""The commands that make a checkpoint and every figure of its card, for the card's section "How to reproduce"."""

from collections.abc import Sequence
from typing import Any

from cilf.checkpoint import CheckpointConfig
from cilf.model.mtmsa import MTMSAConfig
from train.data.datasets import DATASETS

SPLITS = {"all-age-faces": "aaf_split.csv"}  # of a name that differs from the rule's
# Larger than the size that `prepare` gives without being told.
CROPS = {"vit-b-16": " --size 224 --margin 28"}
# The recipes of a system, each of which starts from what the one before it made; those whose end is averaged with
# their start; and those that learn from what all the stages before them made.
STAGES = {
    "compact": ("compact", "compact-finish", "compact-distilled", "compact-upright"),
    "mtmsa": ("mtmsa", "mtmsa-finish", "mtmsa-longer"),
    "vit-b-16": ("vit-b-16",),
}
AVERAGED = ("compact-finish", "compact-distilled", "compact-upright")
TAUGHT = ("compact-distilled", "compact-upright")
EXPORTED = ("compact", "mtmsa")  # a ViT-B/16 is slower by a graph: `pytest tests/benchmarks/test_speed.py -s`
BEFORE = {"mtmsa": "CILF"}  # whom a system is compared with on the same photos

HOW = """\
Every photo goes as a file through `AgeEstimator.predict`; where no face is found the whole picture is taken as one, and
of several faces the largest box counts. Errors are those of the unrounded ages. The ranges of MAE, CS@5, bias and gain
are percentiles of 2,000 bootstrap draws (seed 0) of the photos, or of the people where a set names them; those of an
interval's coverage are Wilson's, and those of wrong answers to "18 or over?" Clopper and Pearson's exact ones; all at
95 %."""

SPLIT_FILES = """\
The split files have the columns `filename,split,group` and are not part of the repository: those used here keep
near-duplicates together. `python -m train split` draws others; with other files the figures differ a little."""


def steps(config: CheckpointConfig, found: dict[str, Any]) -> str:
    """Markdown: what to call, in this order, and which figure comes from which call. `found` is the report."""
    name, names = recipe(config), config.training.get("data", [])
    checkpoint = f"checkpoints/{name}"
    measuring = [*_evaluating(name, found), *_studying(name, names), f"python -m train card {checkpoint}"]
    made = [*_training(name, names), *measuring] if names else measuring
    commands = "\n".join(('pip install -e ".[train]"', *made))
    return (
        f"## How to reproduce\n\n```sh\n{commands}\n```\n\n{_origins(name)}\n\n{HOW}\n\n{SPLIT_FILES}\n\n"
        f"{_recorded(config.training)}\n"
    )


def recipe(config: CheckpointConfig) -> str:
    """The name of the recipe that makes such a system."""
    if isinstance(config.model, MTMSAConfig):
        return "mtmsa"
    return "compact" if config.model.clip.words else "vit-b-16"


def _data(name: str) -> str:
    title, _, _ = DATASETS[name].facts.title.partition(",")
    return f"--data {name}={title.replace(' ', '-')}"


def _splits(names: Sequence[str]) -> str:
    return " ".join(f"--split {SPLITS.get(name, f'{name}_split.csv')}" for name in names)


def _training(name: str, names: Sequence[str]) -> list[str]:
    splits, stages = _splits(names), STAGES[name]
    before: list[str] = []  # the checkpoints of the stages so far, the last one first
    made = [f"python -m train prepare {' '.join(map(_data, names))}{CROPS.get(name, '')}"]
    for stage, step in zip(stages, ("first", "second", "third", "fourth"), strict=False):
        output = f"checkpoints/{name if stage == stages[-1] else step}"
        start = f" --start {before[0]}" if before else ""
        taught = "".join(f" --teacher {teacher}" for teacher in before) if stage in TAUGHT else ""
        made += _run(stage, start + taught, start if stage in AVERAGED else "", splits, output)
        before.insert(0, output)
    return [*made, f"python -m train export checkpoints/{name}"] if name in EXPORTED else made


def _run(stage: str, from_what: str, averaged: str, splits: str, output: str) -> list[str]:
    return [
        f"python -m train fit --recipe {stage}{from_what} {splits} --output runs/{stage}",
        f"python -m train calibrate --recipe {stage} --run runs/{stage}{averaged} {splits} --output {output}",
    ]


def _evaluating(name: str, found: dict[str, Any]) -> list[str]:
    dataset, part = found["dataset"], found["part"]
    photos = f"python -m train evaluate {_data(dataset)}"
    if part != "all":
        photos += f" {_splits([dataset])}" + (f" --part {part}" if part != "test" else "")
    rivals = list(found.get("rivals", {}))
    files = {rival: f"{rival.lower().replace(' ', '-')}.csv" for rival in rivals}
    other = BEFORE.get(name)
    first = [f"{photos} --predictions {files[other]}"] if other in files else []
    against = "".join(f" --rival '{rival}={file}'" for rival, file in files.items())
    checkpoint = f"checkpoints/{name}"
    return [*first, f"{photos} --weights {checkpoint}{against} --report {checkpoint}/report.json"]


def _studying(name: str, names: Sequence[str]) -> list[str]:
    """The studies that only CILF has: it alone corrects, and it alone has parts to leave out."""
    if name == "mtmsa" or not names:
        return []
    folder, splits = f"checkpoints/{name}", _splits(names)
    correction = f"python -m train correction --weights {folder} {splits} --output {folder}/correction.json"
    ablate = f"python -m train ablate {splits} --output {folder}/ablation.json"
    return [f"{correction} --figure correction.png", *([ablate] if name == "compact" else [])]


def _origins(name: str) -> str:
    evaluated = (
        "All figures of this card come from `evaluate`, by way of `report.json`; `card` writes them down."
    )
    if name == "mtmsa":
        return evaluated
    studies = (
        " `correction` sweeps the rule of correction and compares it with its controls (`correction.json`)."
    )
    if name == "compact":
        studies += (
            " `ablate` leaves out the method's parts and compares wordings of the prompts (`ablation.json`)."
        )
    return evaluated + studies


def _recorded(training: dict[str, Any]) -> str:
    """Which run it was, as far as the checkpoint's configuration tells."""
    seed = f"seed {training['seed']}" if "seed" in training else "a seed that was not recorded"
    if training.get("commit"):
        changed = " with changes that were not committed" if training.get("uncommitted_changes") else ""
        code = f"the code at commit `{training['commit'][:7]}`{changed}"
    else:
        code = "code whose commit was not recorded"
    return f"The last run used {seed} and {code}; what else is known of it stands under `training` in `config.json`."
