"""The model card: written from a checkpoint's configuration and its evaluation report, so that no figure is typed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from cilf.checkpoint import CARD, NAME, REPORT, CheckpointConfig, read_config, read_report
from cilf.conformal import ConformalConfig
from cilf.errors import WeightsError
from cilf.inference.earlier import EarlierConformal
from cilf.model.registry import Family, family_of
from train.data.datasets import DATASETS
from train.evaluate import attributes
from train.evaluate.report import decisions, people, table
from train.evaluate.test_evaluations import TEST_EVALUATIONS, test_evaluations
from train.fit.provenance import learned_from
from train.formatting import score, signed, signed_span, span
from train.metrics import BANDS
from train.release.card_texts import CARD_TEXTS
from train.release.reproduction_steps import steps

USE = """\
## Use

```python
from cilf import AgeEstimator

for face in AgeEstimator.from_pretrained(SOURCE).predict("family.jpg"):
    print(face.age, face.interval, face.status)
```

Meant for demonstrations, teaching and research on age estimation. Not meant for decisions about a person: not
for access control, policing, hiring, insurance, border or asylum cases, nor as the only gate of an age check.
Make-up, masks, sunglasses, strong profile, very small or soft faces and heavy filters mislead it.
"""

# What must be known of the labels of a set that a model learned from.
REMARKS = {
    "utkface": "UTKFace's labels are noisy: groups of near-duplicate pictures carry ages 4.2 years apart on average.",
    "all-age-faces": "All-Age-Faces shows mostly Asian faces.",
}
COUNTED = ("correction", "words")  # studies that evaluate on `test` and count it in their report
SYSTEMS = "SYSTEMS.json"  # of `train compare-systems`, beside the checkpoints' folders
DISJOINT = """\
Photos for fitting the network, for what is fitted and chosen after it (held-out and validation photos
together){also} are disjoint, and groups of near-duplicates that the split files name lie in one part whole.
"""
USED_BEFORE = """\
**Measured on `{part}`, photos that training, choices or calibration had seen: these figures are too good.**
"""


def card(
    config: CheckpointConfig, report: dict[str, Any], studies: Mapping[str, dict[str, Any]] | None = None
) -> str:
    """Markdown with the Hub's metadata.

    Args:
        config: the checkpoint's.
        report: the report that `train.evaluate.report` wrote for this checkpoint.
        studies: reports of `COUNTED` and of `compare-systems`, for the evaluations on `test` that they took.
    """
    family = family_of(config.model)
    parts = [
        f"---\n{_metadata(family, report).to_yaml()}\n---\n",
        f"# {family.title}\n",
        CARD_TEXTS[family.name].description(config),
        _results(config, report, studies or {}),
        USE.replace("SOURCE", "" if family.bundled == NAME else f'"{family.bundled or family.name}"'),
        _data(config),
        disjoint_parts(report["part"], seen=report["dataset"] in learned_from(config.training)),
        _limits(config, report),
        steps(config, report),
    ]
    return "\n".join(parts)


def write(folder: Path) -> None:
    """Write the card of the checkpoint in `folder` from the files in it.

    Raises:
        WeightsError: there is no checkpoint, or no report that belongs to it.
    """
    report = read_report(folder)
    if report is None:
        raise WeightsError(f"'{folder}' holds no {REPORT}; write it with `python -m train evaluate --report`")
    files = {study: folder / f"{study}.json" for study in COUNTED}
    studies = {study: json.loads(path.read_text("utf-8")) for study, path in files.items() if path.is_file()}
    config = read_config(folder)
    compared = [
        each
        for each in test_evaluations(folder.parent / SYSTEMS)
        if config.sha256 in each["weights_sha256"].values()
    ]
    studies["compare-systems"] = {TEST_EVALUATIONS: compared}
    (folder / CARD).write_text(card(config, report, studies), encoding="utf-8")


def _metadata(family: Family, report: dict[str, Any]) -> ModelCardData:
    measured = report["all"]
    metrics = {
        "mae": ("Mean absolute error (years)", measured["mae"]),
        "cs5": ("Share within 5 years", measured["cs5"]),
        "coverage": ("Coverage of the 90 % interval", measured["interval"]["coverage"]),
    }
    results = [
        EvalResult(
            task_type="image-classification",
            task_name="Age estimation",
            dataset_type=report["dataset"],
            dataset_name=_title(report),
            dataset_split=report["part"],
            metric_type=name,
            metric_name=label,
            metric_value=round(value, 4),
        )
        for name, (label, value) in metrics.items()
    ]
    return ModelCardData(
        license="other",
        license_name="non-commercial-research",
        pipeline_tag="image-classification",
        library_name="cilf",
        tags=["age-estimation", CARD_TEXTS[family.name].tag, "face"],
        model_name=family.title,
        eval_results=results,
    )


def _title(report: dict[str, Any]) -> str:
    """The measured set's name as its makers write it."""
    return DATASETS[report["dataset"]].facts.title


def _data(config: CheckpointConfig) -> str:
    """What the system started from and learned from."""
    names = learned_from(config.training)
    facts = [DATASETS[name].facts for name in names]
    sets = " and ".join(f"{fact.title} ({fact.paper}; licence: {fact.licence})" for fact in facts)
    these = "these sets" if len(names) > 1 else "this set"
    remarks = "".join(f"{REMARKS[name]} " for name in names if name in REMARKS)
    texts = CARD_TEXTS[family_of(config.model).name]
    return (
        f"## Data\n\n{texts.start(config)}Trained on {sets or 'sets that the configuration does not name'}. Because of "
        f"{these} **the weights are for non-commercial research only**, unlike the code. "
        f"{remarks}{texts.labels(config)}\n"
    )


def _corrected(config: CheckpointConfig, report: dict[str, Any]) -> str:
    if config.correction.max_views == 1 and config.ensemble is None:
        return ""
    gained = report["all"]["correction"]
    return (
        f"Correction: {gained['share_changed']:.1%} of the estimates changed, {gained['share_better']:.1%} for the "
        f"better and {gained['share_worse']:.1%} for the worse; mean gain {gained['mean_gain']:.3f} ± "
        f"{gained['standard_error']:.3f} years.\n\n"
    )


def _attributes(report: dict[str, Any]) -> str:
    """How well the labels of gender and race are told; empty where that was not measured."""
    if not report.get("attributes"):
        return ""
    text = (
        "Measured for comparison between systems (heads where there are some, else the sentence that fits best); the "
        "estimator gives out neither."
    )
    return f"### Gender and race\n\n{text}\n\n{attributes.table(report['attributes'])}\n\n"


def disjoint_parts(part: str, *, seen: bool = True) -> str:
    """Which photos served what; `part` is the one that was measured, "all" for a set that no split divides, and `seen`
    whether the weights learned from that set."""
    also = ", for calibration and for this test" if part == "test" else " and for calibration"
    text = DISJOINT.format(also=also)
    return (
        text if part == "test" or (part == "all" and not seen) else f"{text}\n{USED_BEFORE.format(part=part)}"
    )


def _results(config: CheckpointConfig, report: dict[str, Any], studies: Mapping[str, dict[str, Any]]) -> str:
    return (
        f"## Results\n\n{_title(report)} `{report['part']}`, {report['all']['count']} photos, each through the public "
        "API (`python -m train evaluate`, full report in `report.json`). Ages in years; CS@5 is the share within 5 "
        f"years; ranges are at 95 %.{_evaluations(config, report, studies)}\n\n{table(report)}\n\n"
        f"{_corrected(config, report)}{_of_age(report)}{_attributes(report)}"
        f"### By age, gender and race\n\n{_groups(report)}\n"
    )


def _of_age(report: dict[str, Any]) -> str:
    if not report["over_18"]:
        return ""
    return (
        "### 18 or over?\n\n"
        "`face.over(18)` says yes, no or unsure. Calibrated so that of the people under 18 at most 5 % get a yes, of "
        "the others at most 5 % a no, and likewise of those within five years of 18. On the same photos:\n\n"
        f"{decisions(report)}\n\n"
    )


def _evaluations(
    config: CheckpointConfig, report: dict[str, Any], studies: Mapping[str, dict[str, Any]]
) -> str:
    """How often this system was tried on the test photos, where it is measured on them."""
    if report["part"] != "test":
        return ""
    counts = [
        f"{len(report[TEST_EVALUATIONS])} by `train evaluate` (calls without `--report` are not counted)"
    ]
    counts += [
        f"{len(dated)} by `train {study}` since {dated[0]['date']}"
        for study, each in studies.items()
        if (dated := each.get(TEST_EVALUATIONS))
    ]
    text = f" Evaluations on this part so far: {', '.join(counts)}"
    if not family_of(config.model).corrects:
        return f"{text}."
    swept = studies.get("correction", {}).get(TEST_EVALUATIONS)
    return f"{text}; those by {'' if swept else '`train correction` and '}`train ablate` are not counted."


def _groups(report: dict[str, Any]) -> str:
    """A row for each gender, race and band of ages that has photos."""
    lines = [
        "| | age | photos | MAE, years (range) | CS@5 (range) | bias, years (range) | 90 % interval holds (range) |",
        "|---|---|---|---|---|---|---|",
    ]
    everybody = dict.fromkeys(who for name in report["groups"] if (who := people(name)))
    lines += [
        f"| {who} | {band} | {_cells(row)} |"
        for who in everybody
        for band in BANDS
        if (row := report["groups"].get(f"age {band} {who}"))
    ]
    text = (
        "By true age. Ranges are at 95 %: bootstrap ones for mean absolute error, CS@5 and bias, Wilson's for the "
        "interval. A row of few photos says little: where all its photos agree a bootstrap range has no width, and one "
        "photo has none."
    )
    if "cs5_range" not in report["all"]:
        text += " The report is from before CS@5 had a range."
    return text + "\n\n" + "\n".join(lines)


def _cells(row: dict[str, Any]) -> str:
    interval = row["interval"]
    holds = f"{interval['coverage']:.0%} ({span(interval['coverage_range'], '.0%')})"
    if row["count"] == 1:
        return f"1 | {row['mae']:.1f} | {row['cs5']:.0%} | {signed(row['bias'], 1)} | {holds}"
    return (
        f"{row['count']} | {row['mae']:.1f} ({span(row['mae_range'], '.1f')}) | {score(row, 0)} "
        f"| {signed(row['bias'], 1)} ({signed_span(row['bias_range'], 1)}) | {holds}"
    )


def _limits(config: CheckpointConfig, report: dict[str, Any]) -> str:
    old, young = report["groups"].get("age 60+"), report["groups"].get("age 13–17")
    text = [
        f"{signed(row['bias'], 1)} years {whom}"
        for row, whom in ((young, "for ages 13 to 17"), (old, "from 60 on"))
        if row
    ]
    errors = f"On these photos its bias is {' and '.join(text)}. " if text else ""
    return (
        "## Limits\n\nIt estimates how old a face looks to the labels it learned from, not how old a person is. "
        f"{errors}{_promise(config.conformal)}{_of_prompts(config)}\n"
    )


def _of_prompts(config: CheckpointConfig) -> str:
    """What a text tower that learned from made captions does not understand."""
    if not family_of(config.model).compares_texts:
        return ""
    return (
        " Prompts in plain words fit best: what a whole sentence says, the text tower understands often, by no means "
        "always."
    )


def _promise(interval: ConformalConfig | EarlierConformal) -> str:
    """What the interval's coverage is conditional on."""
    share = (
        f"The interval is calibrated to hold the true age of {100 * interval.coverage:.0f} % of faces like the "
        "calibration photos"
    )
    if not interval.edges:
        return f"{share} over all of them, not in every group: see the table."
    *others, last = (f"{edge:g}" for edge in interval.edges)
    edges = f"{', '.join(others)} and {last}" if others else last
    return (
        f"{share}, separately in each band of true ages (divided at {edges} years). It promises nothing for single "
        "genders, races or narrower ages, where the measured share differs: see the table."
    )
