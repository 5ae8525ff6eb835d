"""The commands that make a checkpoint and every figure of its card, for the card's section "How to reproduce"."""

from collections.abc import Sequence
from typing import Any

from cilf.checkpoint import CheckpointConfig
from cilf.model.registry import family_of
from train.data.datasets import DATASETS
from train.fit.pipeline import Pipeline, read_pipeline
from train.release.card_texts import CARD_TEXTS

HOW = """\
Every photo goes as a file through `AgeEstimator.predict`; where no face is found the whole picture is taken as one, and
of several faces the largest box counts. Errors are those of the unrounded ages. The ranges of MAE, CS@5, bias and gain
are percentiles of 2,000 bootstrap draws (seed 0) of the photos, or of the people where a set names them; those of an
interval's coverage are Wilson's, and those of wrong answers to "18 or over?" Clopper and Pearson's exact ones; all at
95 %."""

SPLIT_FILES = """\
The split files have the columns `filename,split,group` and are not part of the repository: those used here keep
near-duplicates together. `python -m train split` draws others; with other files the figures differ a little."""

EVALUATED = "All figures of this card come from `evaluate`, by way of `report.json`; `card` writes them down."
# What each study adds to the card or to the documents beside it.
STUDIES = {
    "correction": " `correction` sweeps the rule of correction and compares it with its controls (`correction.json`).",
    "ablate": " `ablate` adds the method's parts one by one and compares wordings of the prompts (`ablation.json`).",
    "stability": " `stability` shifts, scales, re-compresses and lights photos a little and measures how far "
    "the ages move (`stability.json`).",
    "words": " `words` asks how well prompts fit what is measured on the photos (`words.json`).",
}
OUTPUTS = {
    "correction": "correction.json --figure correction.png",
    "ablate": "ablation.json",
    "stability": "stability.json",
    "words": "words.json --part test",
}


def steps(config: CheckpointConfig, report: dict[str, Any]) -> str:
    """Markdown: what to call, in this order, and which figure comes from which call of those."""
    pipeline = read_pipeline(CARD_TEXTS[family_of(config.model).name].pipeline(config))
    commands = "\n".join(('pip install -e ".[train]"', *_commands(pipeline, config, report)))
    origins = EVALUATED + "".join(STUDIES[study] for study in pipeline.studies)
    return (
        f"## How to reproduce\n\n```sh\n{commands}\n```\n\n{origins}\n\n{HOW}\n\n{SPLIT_FILES}\n\n"
        f"{_recorded(config.training)}\n"
    )


def _commands(pipeline: Pipeline, config: CheckpointConfig, report: dict[str, Any]) -> list[str]:
    names, checkpoint = config.training.get("data", []), f"runs/{pipeline.name}/checkpoint"
    measuring = [*_evaluating(pipeline, checkpoint, report), f"python -m train card {checkpoint}"]
    if not names:  # so nobody can train it again
        return measuring
    data, splits = " ".join(map(_data, names)), _splits(names)
    train = [f"python -m train run {pipeline.name} {data} {splits}"]
    if pipeline.start_commit:
        start = f"checkpoints/{pipeline.stages[0].start}"
        before = f"git checkout {pipeline.start_commit} -- {start}    # what it starts from"
        train = [before, *train, f"git checkout HEAD -- {start}"]
    return [
        *train,
        *(_study(study, checkpoint, splits) for study in pipeline.studies),
        *measuring,
    ]


def _data(name: str) -> str:
    title, _, _ = DATASETS[name].facts.title.partition(",")
    return f"--data {name}={title.replace(' ', '-')}"


def _splits(names: Sequence[str]) -> str:
    return " ".join(f"--split splits/{name}.csv" for name in names)


def _study(study: str, checkpoint: str, splits: str) -> str:
    weights = "" if study == "ablate" else f" --weights {checkpoint}"  # which trains towers of its own
    return f"python -m train {study}{weights} {splits} --output {checkpoint}/{OUTPUTS[study]}"


def _evaluating(pipeline: Pipeline, checkpoint: str, report: dict[str, Any]) -> list[str]:
    dataset, part = report["dataset"], report["part"]
    photos = f"python -m train evaluate {_data(dataset)}"
    if part != "all":
        photos += f" {_splits([dataset])}" + (f" --part {part}" if part != "test" else "")
    files = {rival: f"{rival.lower().replace(' ', '-')}.csv" for rival in report.get("rivals", {})}
    other = pipeline.compare_with
    first = [f"{photos} --predictions {files[other]}"] if other in files else []
    against = "".join(f" --rival '{rival}={file}'" for rival, file in files.items())
    return [*first, f"{photos} --weights {checkpoint}{against} --report {checkpoint}/report.json"]


def _recorded(training: dict[str, Any]) -> str:
    """Which run it was, as far as the checkpoint's configuration tells."""
    seed = f"seed {training['seed']}" if "seed" in training else "a seed that was not recorded"
    if training.get("commit"):
        changed = " with changes that were not committed" if training.get("uncommitted_changes") else ""
        code = f"the code at commit `{training['commit'][:7]}`{changed}"
    else:
        code = "code whose commit was not recorded"
    before = (
        " It started from an earlier checkpoint, of which `start` tells the same."
        if training.get("start")
        else ""
    )
    return (
        f"The last run used {seed} and {code}; what else is known of it stands under `training` in `config.json`."
        f"{before} Recipes may have changed since; those of that commit made these weights."
    )
