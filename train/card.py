"""The model card: written from a checkpoint's configuration and its evaluation report, so that no figure is typed."""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from cilf.mtmsa import MTMSAConfig
from cilf.weights import CheckpointConfig
from train import attributes
from train.datasets import DATASETS
from train.evaluate import BANDS, decisions, people, table

NAMES = {"cilf": "CILF compact", "mtmsa": "MTMSA"}

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
STARTED = {
    "tf_efficientnet_lite0": "The image tower started from EfficientNet-Lite0's published ImageNet weights "
    "(Apache-2.0); everything else from random ones. "
}
TAUGHT = (
    "The captions that taught the text tower were made from the labels (age, gender, race): similarity to such words "
    "shows what the labels taught, nothing more, and words outside them are unknown to it. Race words are those of the "
    "labels, assigned by other people or programs, not by the persons shown."
)
TAUGHT_FURTHER = (
    "Both towers started from a published CLIP's weights. The captions of the training were made from the labels (age, "
    "gender, race): similarity to such words shows what the labels taught, too. Race words are those of the labels, "
    "assigned by other people or programs, not by the persons shown."
)
TAUGHT_HEADS = (
    "Gender and race are those of the labels, assigned by other people or programs, not by the persons shown. The two "
    "heads that learned them are there to shape what the age head builds on; the estimator gives out neither."
)

PARTS = """\
Photos for fitting, for the error ensemble, for choices, for calibration and for this test are disjoint, and
groups of near-duplicates lie in one part whole.
"""


def card(config: CheckpointConfig, found: dict[str, Any]) -> str:
    """Markdown with the Hub's metadata. `found` is the report that `train.evaluate` wrote for this checkpoint."""
    kind = config.model.kind
    parts = [
        f"---\n{_metadata(kind, found).to_yaml()}\n---\n",
        f"# {NAMES[kind]}\n",
        _description(config),
        _results(config, found),
        USE.replace("SOURCE", '"mtmsa"' if kind == "mtmsa" else ""),
        _data(config),
        PARTS,
        _limits(found),
    ]
    return "\n".join(parts)


def write(config: CheckpointConfig, found: dict[str, Any], path: Path) -> None:
    """Write the card to `path`."""
    path.write_text(card(config, found), encoding="utf-8")


def _metadata(kind: str, found: dict[str, Any]) -> ModelCardData:
    measured = found["all"]
    metrics = {
        "mae": ("Mean absolute error (years)", measured["mae"]),
        "cs5": ("Share within 5 years", measured["cs5"]),
        "coverage": ("Coverage of the 90 % interval", measured["interval"]["coverage"]),
    }
    results = [
        EvalResult(
            task_type="image-classification",
            task_name="Age estimation",
            dataset_type=found["dataset"],
            dataset_name=_title(found),
            dataset_split=found["part"],
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
        tags=["age-estimation", "clip" if kind == "cilf" else "resnet", "face"],
        model_name=NAMES[kind],
        eval_results=results,
    )


def _title(found: dict[str, Any]) -> str:
    """The measured set's name as its makers write it."""
    return DATASETS[found["dataset"]].facts.title


def _description(config: CheckpointConfig) -> str:
    rule = config.correction
    if isinstance(config.model, MTMSAConfig):
        return _description_of_mtmsa(config.model, rule.epsilon)
    assert config.ensemble is not None  # CILF's checkpoints have one
    clip = config.model.clip
    vision = clip.architecture["vision_cfg"]
    tower = vision.get("timm_model_name") or f"a vision transformer of {vision['layers']} layers"
    text_tower = "a small transformer" if clip.words else "a published CLIP's transformer"
    if rule.max_iterations:
        does = f"An estimate whose estimated error is above ε = {rule.epsilon:.2f} years is corrected step by step."
    else:
        does = (
            f"On the photos kept for choices no correction rule gained enough, so this checkpoint never corrects; "
            f"estimates with an estimated error above ε = {rule.epsilon:.2f} years are marked as of low confidence."
        )
    return (
        f"Age from one face, by fusing CLIP image and text features in the frequency domain. Image tower: "
        f"{tower} on one aligned face of {clip.image_size} px; text tower: {text_tower}; "
        f"{config.ensemble.members} error estimators. {does}\n"
    )


def _description_of_mtmsa(config: MTMSAConfig, epsilon: float) -> str:
    return (
        f"The second system: age from one aligned face of {config.image_size} px by a ResNet34 with dilated "
        "multi-scale attention, whose heads for gender and race were trained along with that for the age. The age is a "
        "Gaussian, learned by the KL divergence from a Dirac at the label. It has no text tower, so it compares no "
        "prompts, and no error ensemble, so it never corrects; an estimate whose Gaussian expects an error above "
        f"ε = {epsilon:.2f} years is marked as of low confidence.\n"
    )


def _data(config: CheckpointConfig) -> str:
    """What the system started from and learned from."""
    names = config.training.get("data", [])
    facts = [DATASETS[name].facts for name in names]
    sets = " and ".join(f"{one.title} ({one.paper}; licence: {one.licence})" for one in facts)
    these = "these sets" if len(names) > 1 else "this set"
    remarks = "".join(f"{REMARKS[name]} " for name in names if name in REMARKS)
    if isinstance(config.model, MTMSAConfig):
        trained, taught = "Trained from random weights on", TAUGHT_HEADS
    else:
        clip = config.model.clip
        started = STARTED.get(clip.architecture["vision_cfg"].get("timm_model_name", ""), "")
        trained, taught = f"{started}Trained on", TAUGHT if clip.words else TAUGHT_FURTHER
    return (
        f"## Data\n\n{trained} {sets or 'sets that the configuration does not name'}. Because of {these} **the weights "
        f"are for non-commercial research only**, unlike the code. {remarks}{taught}\n"
    )


def _corrected(config: CheckpointConfig, found: dict[str, Any]) -> str:
    if not config.correction.max_iterations and config.ensemble is None:
        return ""
    gained = found["all"]["correction"]
    return (
        f"Correction: {gained['share_changed']:.1%} of the estimates changed, {gained['share_better']:.1%} for the "
        f"better and {gained['share_worse']:.1%} for the worse; mean gain {gained['mean_gain']:.3f} ± "
        f"{gained['standard_error']:.3f} years.\n\n"
    )


def _attributes(found: dict[str, Any]) -> str:
    """How well the labels of gender and race are told; empty where that was not measured."""
    if not found.get("attributes"):
        return ""
    said = (
        "Measured for comparison between systems (heads where there are some, else the best of a few prompts); the "
        "estimator gives out neither."
    )
    return f"### Gender and race\n\n{said}\n\n{attributes.table(found['attributes'])}\n\n"


def _results(config: CheckpointConfig, found: dict[str, Any]) -> str:
    return (
        f"## Results\n\n{_title(found)} `{found['part']}`, {found['all']['count']} photos, each through the public "
        f"door (`python -m train evaluate`, full report in `report.json`; looks at this part so far: "
        f"{len(found['test_looks'])}). "
        f"Ages in years; CS@5 is the share within 5 years.\n\n{table(found)}\n\n"
        f"{_corrected(config, found)}### 18 or over?\n\n"
        "`face.over(18)` says yes, no or unsure. Calibrated so that of the people under 18 at most 5 % get a yes, of "
        "the others at most 5 % a no, and likewise of those within five years of 18. On the same test photos:\n\n"
        f"{decisions(found)}\n\n{_attributes(found)}### By age, gender and race\n\n{_groups(found)}\n"
    )


def _groups(found: dict[str, Any]) -> str:
    """MAE with its range, bias, coverage and count for each race and gender, by age band; empty without photos."""
    groups = found["groups"]
    everybody = list(dict.fromkeys(who for name in groups if (who := people(name))))
    lines = [f"| | {' | '.join(BANDS)} |", "|---" * (len(BANDS) + 1) + "|"]
    for who in everybody:
        cells = []
        for band in BANDS:
            row = groups.get(f"age {band} {who}")
            cells.append(_cell(row) if row else "–")
        lines.append(f"| {who} | {' | '.join(cells)} |")
    said = (
        "In each cell: number of photos; mean absolute error in years with its bootstrap 95 % range; bias in years; "
        "coverage of the 90 % interval with Wilson's 95 % range. A cell of a few photos says little."
    )
    return said + "\n\n" + "\n".join(lines)


def _cell(row: dict[str, Any]) -> str:
    (low, high), (least, most) = row["mae_range"], row["interval"]["coverage_range"]
    return (
        f"{row['count']}: {row['mae']:.1f} ({low:.1f}–{high:.1f}); {row['bias']:+.1f}; "
        f"{row['interval']['coverage']:.0%} ({least:.0%}–{most:.0%})"
    )


def _limits(found: dict[str, Any]) -> str:
    old, young = found["groups"].get("age 60+"), found["groups"].get("age 13–17")
    said = [
        f"its mean error is {row['bias']:+.1f} years {whom}"
        for row, whom in ((young, "for the 13- to 17-year-old"), (old, "from 60 on"))
        if row
    ]
    return (
        "## Limits\n\nIt estimates how old a face looks to the labels it learned from, not how old a person is. "
        f"On the test photos {' and '.join(said)}. The interval holds 90 % of faces like the test photos on average, "
        "not in every group: see the table.\n"
    )
