"""STUDIES.md of a checkpoint: what its studies measured, written from their JSON files, so that no figure is typed.

`python -m train studies report` writes it after `correction`, `ablate`, `stability`, `words`, `captions`, `studies
cross-dataset` and `studies seeds` have stored their figures. A study that was not done has no section.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from train.evaluate.test_evaluations import TEST_EVALUATIONS
from train.studies import ablation, correction_report, cross_dataset, seeds, stability
from train.studies.texts import caption_cost, words

STUDIES = "STUDIES.md"

HEAD = """\
# Studies of `{name}`

Written by `python -m train studies report {folder}` from the JSON files in this folder. Ages and gains in years,
ranges at 95 %. Every choice was made on the first of the parts shown (`tune`, alone or by cross-fitting with
`held`), none on `test`. What else was tried, and what failed: [train/LOG.md](../../train/LOG.md).
"""

CORRECTION = """\
## Does the correction pay?

`python -m train correction` varies ε on stored predictions, with the rule's other values as they were chosen,
and compares controls with it ([correction.json](correction.json), weights {weights}).

{ships}

### Values of ε

{rules}

### Controls

Changes of the age without the correction's loop. The base fitted on the held-out photos too stands in the
ablation below.

{controls}

### Does the ensemble know its errors?

{calibration}

![Error, gain and share changed over ε; estimated against real errors](../../assets/correction.png)
"""

STABILITY = """\
## How steady are the ages?

`python -m train stability` changes {photos} photos of `tune` and the page's two portraits in ways that make nobody
older, and estimates them again through `AgeEstimator.predict` ([stability.json](stability.json), weights
{weights}). "18 or over?" turned from yes to no or back for {turned} photos.

{table}
"""

CROSS_DATASET = """\
## Do ages hold on photos from elsewhere?

`python -m train cross-dataset` learns from one data set alone, in a short training of {epochs} epochs with {seeds}
seed(s), and measures another, never its `test` part: by the network's own ages of one crop a photo, at {size} px,
without calibration or correction. `studies/cross-before` has the augmentation and losses from before there was anything
for photos from elsewhere. Ranges are over photos alone. Trained with the code of commit {commit}, put together by
`python -m train studies cross-dataset` ([cross-dataset.json](cross-dataset.json)). Such a training learns far less than
the shipped one: read the differences, not the errors.

{table}
"""

SEEDS = """\
## How much is luck?

`python -m train studies seeds` compares {seeds} trainings of {steps} steps from the weights {start} that differ in
their seeds alone: the order of the photos, their augmentation, what the network drops ([seeds.json](seeds.json); recipe
`{recipe}`, as it and the code were at commit {commit}). Errors are those of one crop, on {photos:,} held-out and
`tune` photos, at the temperature that is best on them, without correction. The gain's range is over groups of
near-duplicates drawn again, not over seeds.

{table}
"""

PARTS = """\
## Which part of the method pays?

`python -m train ablate` trains both towers on captions alone for {epochs} epochs, freezes them, and fits what
follows part by part on their stored outputs ([ablation.json](ablation.json), commit {commit}): {seeds} seeds a
row, {steps} steps of {batch} photos, all blocks with as many parameters. "Without a block": every token takes
the mean of all. ± is over seeds; ranges are over photos and seeds drawn again, seed against same seed. Frozen
towers learn far less than the shipped weights, so read the differences, not the errors; and the correction is the one
of that commit.

{table}
"""

PROMPTS = """\
## Which prompts matter?

The same frozen towers with families of age prompts, as they are ("prompt-only") and with fusion and head fitted
to them, {seeds} fit(s) each: differences within the spread of the table above mean nothing. Every family is a
function of the label's age, and the captions that trained the text tower were made from labels too: the table
compares wordings and proves nothing about what appearance words see.

{table}
"""

WORDS = """\
## Do the words fit?

`python -m train words` asks which of two prompts fits a crop better, on the {photos} crops of {dataset} `{part}`
([words.json](words.json), weights {weights}). What is true of a crop is measured on its pixels and on MediaPipe's face
mesh, by the rules that made the training captions: the figures say how well the words were learned, not how people
would use them. Ranges are over groups of near-duplicates drawn again. Evaluations on `test` by this command: {count}.
The last column is about these rules themselves: how often they were wrong on training photos, clearly there and clearly
not together, judged in one look by a vision model
([attribute_errors.toml](../../train/evaluate/attribute_errors.toml)). The last of the words that visitors might type
were taught with that list in view ([log](../../train/LOG.md)).

{summary}

{table}
"""

CAPTIONS = """\
## What do the words cost?

`python -m train captions` trains from {start} with two kinds of captions, alike in everything else: rich ones
name measured attributes, plain ones age, gender and race alone ([captions.json](captions.json), commit {commit}):
{epochs} epochs at {size} px, {seeds} seed(s). Errors are those of the network's own ages on held-out and `tune` photos,
without correction; the range is over groups of near-duplicates drawn again, not over seeds. So short a training learns
far less than the shipped weights: read the difference, not the errors.{texts}

{table}
"""
WORDS_IN_BOTH = """
Both text towers had learned every word from texts alone before the first photo; the captions of the photos, and what
is asked about them, are what differs."""


def write(checkpoint_folder: Path) -> Path:
    """Write STUDIES.md into a checkpoint's folder from the JSON files there, and give its path."""
    path = checkpoint_folder / STUDIES
    path.write_text(studies(checkpoint_folder), encoding="utf-8")
    return path


def studies(checkpoint_folder: Path) -> str:
    """The document's text."""
    name = checkpoint_folder.resolve().name
    parts = [HEAD.format(name=name, folder=f"checkpoints/{name}")]
    parts += [
        section(json.loads(path.read_text(encoding="utf-8")))
        for file, section in SECTIONS
        if (path := checkpoint_folder / file).is_file()
    ]
    return "\n".join(parts)


def correction(measured: dict[str, Any]) -> str:
    """Rules, controls and the ensemble's calibration, from `correction.json`."""
    evaluations = len(measured.get(TEST_EVALUATIONS, ()))
    longest = max((row["iterations"] for row in measured["sweep"]), default=0)
    ships = (
        "What ships corrects by the shipped rule."
        if corrects(measured["shipped_rule"])
        else "No rule gained enough, so what ships never corrects; its estimated errors are still given."
    )
    return CORRECTION.format(
        weights=measured["weights_sha256"][:8],
        ships=f"{ships}\nEvaluations on `test` by this command: {evaluations}.",
        rules=correction_report.rules([row for row in measured["sweep"] if row["iterations"] == longest]),
        controls=correction_report.controls(measured["controls"]),
        calibration=correction_report.calibration(measured["calibration"]),
    )


def corrects(rule: dict[str, Any]) -> bool:
    """Whether a stored rule can ever change an age."""
    return rule.get("max_views", 1) > 1 or rule.get("max_iterations", 0) > 0


def held_elsewhere(measured: dict[str, Any]) -> str:
    """Trainings on one data set measured on another, from `cross-dataset.json`."""
    runs = measured["runs"]
    return CROSS_DATASET.format(
        commit=" and ".join(dict.fromkeys(map(_trained_at, runs))),
        epochs=" and ".join(dict.fromkeys(f"{run['epochs']:g}" for run in runs)),
        size=" and ".join(dict.fromkeys(str(run["size"]) for run in runs)),
        seeds=len({run["seed"] for run in runs}),
        table=cross_dataset.table(measured),
    )


def seeds_section(measured: dict[str, Any]) -> str:
    """Trainings that differ in their seeds alone, from `seeds.json`."""
    return SEEDS.format(
        seeds=len(measured["seeds"]),
        recipe=measured["recipe"],
        steps=measured["steps"],
        start=measured["start_sha256"][:8],
        commit=_trained_at(measured["made_of"]),
        photos=measured["photos"],
        table=seeds.table(measured),
    )


def ablated(measured: dict[str, Any]) -> str:
    """The method's parts and the families of prompts, from `ablation.json`."""
    parts, prompts = measured["parts"], measured["prompts"]
    table = PARTS.format(
        epochs=measured["epochs_of_the_towers"],
        commit=_commit(measured),
        seeds=parts["seeds"],
        steps=parts["steps"],
        batch=parts["batch_size"],
        table=ablation.table(parts),
    )
    return f"{table}\n{PROMPTS.format(seeds=prompts['seeds'], table=ablation.prompt_table(prompts))}"


def stable(measured: dict[str, Any]) -> str:
    """How much an age changes when the picture hardly does, from `stability.json`."""
    return STABILITY.format(
        weights=measured["weights_sha256"][:8],
        photos=measured["photos"],
        turned=measured["turned"],
        table=stability.table(measured),
    )


def words_section(measured: dict[str, Any]) -> str:
    """Pairs of prompts, compositions, paraphrases and known words, from `words.json`."""
    return WORDS.format(
        photos=measured["photos"],
        dataset=measured["dataset"],
        part=measured["part"],
        weights=measured["weights_sha256"][:8],
        count=len(measured.get(TEST_EVALUATIONS, ())),
        summary=words.summary(measured),
        table=words.table(measured["attributes"]),
    )


def captions_section(measured: dict[str, Any]) -> str:
    """Ages with rich captions against plain ones, from `captions.json`."""
    start = measured.get("start_sha256")
    learned = measured["made_of"].get("recipe", {}).get("fit", {}).get("text_steps")
    return CAPTIONS.format(
        start=f"the weights {start[:8]}" if start else "ImageNet weights",
        commit=_commit(measured),
        epochs=measured["epochs"],
        size=measured["size"],
        seeds=measured["seeds"],
        texts=WORDS_IN_BOTH if learned and not measured.get("plain_texts") else "",
        table=caption_cost.table(measured),
    )


def _trained_at(run: dict[str, Any]) -> str:
    changed = " with changes" if run.get("uncommitted_changes") else ""
    return f"{str(run['commit'] or 'not recorded')[:7]}{changed}"


def _commit(measured: dict[str, Any]) -> str:
    """Of the code that measured, as far as it is known."""
    return str(measured["made_of"].get("commit") or "not recorded")[:7]


SECTIONS: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    ("correction.json", correction),
    ("stability.json", stable),
    ("cross-dataset.json", held_elsewhere),
    ("seeds.json", seeds_section),
    ("ablation.json", ablated),
    ("words.json", words_section),
    ("captions.json", captions_section),
)
