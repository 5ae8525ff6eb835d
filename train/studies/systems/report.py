"""SYSTEMS.md: the table of all systems, written from SYSTEMS.json, so that no figure is typed."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from train.data.datasets import Sample
from train.formatting import signed, signed_span, span, write_json
from train.metrics import (
    WIDE_BANDS,
    bootstrap_range,
    cumulative_curve,
    mean_absolute_error,
    paired_bootstrap,
    within,
)
from train.studies.ablation import paired_gain
from train.studies.systems.frozen import (
    CILF_FULL,
    CONTROL,
    GRAPH_OFF,
    MCGRL_GRAPH_OFF,
    UNMASKED,
    WALK,
    Run,
)

JSON, MARKDOWN = "SYSTEMS.json", "SYSTEMS.md"
FROZEN_KEYS = ("tune_photos", "trunk_sha256", "trunk_pictures", "budget", "frozen")
Groups = Mapping[str, str]

HEAD = """\
# Systems side by side

Written by `python -m train compare-systems` from [SYSTEMS.json](SYSTEMS.json). Errors in years, ranges at 95 %
(bootstrap). **LRA-GNN and MCGRL are compact rebuilds: readings of incomplete sources on a small trunk** ([METHOD 15
and 16](../cilf/METHOD.md)). What they reach says nothing about the originals at full size.
"""
END_TO_END = """\
## End to end

{dataset} `{part}`, {photos} photos, each through the public API. The control is the trunk under CILF's age head
alone: no texts, no graph, no correction. Control, LRA-GNN, MCGRL and CILF are trained in one stage from the same
trunk, which learned from ImageNet weights under the control's head; that favours the control. Photos, augmentation
and learning-rate schedule are the same; the numbers of epochs are chosen for equal training time, by step times. The
minutes in the table are those of the trainings themselves, which ran two at once, each on one thread, on two cores
that did nothing else; the trunk's are not among them. No setting was chosen by trials in this comparison; CILF's losses
come from earlier trials on `tune`, and the reward of LRA-GNN's walk was fixed when no walk ended. Pictures include
those of the trunk.
"ms a crop" is the network alone, one view on one thread, and varies with what else the machine does. MTMSA starts
from random weights, and the shipped CILF, below the line, took several stages and a teacher: neither has the others'
budget. Ranges are over groups of near-duplicates, not over trainings: there is one seed of each, and another seed
might move a row by more. The bundled LRA-GNN and MCGRL ([cards](lra-gnn/README.md)) trained longer than the ones
here, and CILF is the one that shipped when this was measured, its weights named beside it: today's figures are in [its
card](compact/README.md).
{fitted}
{table}

{gains}

{curves}
"""
# Where it is so.
FITTED_ON_THESE = (
    "Rows with correction are too good here: its ensemble and rule were fitted to these photos too.\n"
)
FROZEN = """\
## What earns what: one frozen trunk

{trunk}, frozen;
what follows it fitted {seeds} times, a variant {variant_seeds} times, for {steps} steps of {batch} photos, all on the
same ones in the same order, judged on `tune` ({photos} photos). ± is over seeds; a gain is against the row named with
the same seeds, its range over seeds and groups of near-duplicates. "Graph off": the same layers, but no node hears
another; MCGRL's contrast of near nodes stays, and nothing is hidden. "Our head": a distribution over the ages, as CILF
has it, at the temperature that is best on `held`. The trunk learned under our head, which favours the rows that have
it. CILF's rows are fitted as often and as long, but its towers learned from captions for {epochs} epochs before.

{table}

{answers}
"""
SAME_TRUNK = "The trunk from which all systems above started"
# The halves of the comparison may be measured in two calls, whose folder the second no longer has.
OTHER_TRUNK = "A trunk like the one from which all systems above started, trained again on {:,} pictures"

# Question → the row that answers it, and 1 where that row has what is asked about, −1 where it lacks it.
QUESTIONS = {
    "Does LRA-GNN's graph earn anything?": (GRAPH_OFF, -1),
    "Does its walk?": (WALK, 1),
    "Does MCGRL's graph?": (MCGRL_GRAPH_OFF, -1),
    "Does its masking?": (UNMASKED, -1),
    "Do CILF's context-aware prompts, fusion and contrastive loss together?": (CILF_FULL, 1),
}


def groups_of(samples: Sequence[Sample], groups: Groups) -> list[str]:
    """The group of near-duplicates of each photo, which may be the photo alone."""
    return [groups.get(sample.name, sample.name) for sample in samples]


def frozen_rows(
    runs: Mapping[str, Sequence[Run]], versus: Mapping[str, str], units: Sequence[str]
) -> list[dict[str, Any]]:
    """JSON values of the rows on the frozen trunk."""
    errors = {name: np.stack([np.abs(run.errors) for run in each]) for name, each in runs.items()}
    rows = []
    for name, error in errors.items():
        means = error.mean(axis=1)
        row: dict[str, Any] = {
            "name": name,
            "seeds": len(error),
            "parameters": runs[name][0].parameters,
            "mae": float(means.mean()),
            "sd_over_seeds": float(means.std(ddof=1)) if len(means) > 1 else 0.0,
            "cs5": float((error <= 5).mean()),
        }
        if versus[name]:
            before = errors[versus[name]][: len(error)]  # of a variant the first seeds alone
            gain = paired_gain(before, error, units)
            ends = {"gain": gain["mean"], "gain_range": (gain["low"], gain["high"])}
            row |= {"versus": versus[name], "gain": ends}
        rows.append(row)
    return rows


def end_to_end_rows(measured: Sequence[dict[str, Any]], groups: Groups) -> list[dict[str, Any]]:
    """JSON values of the rows that were trained end to end; differences are against the control."""
    whole = {row["name"]: row["predictions"].set_index("name") for row in measured if not row["reading"]}
    rows = []
    for row in measured:
        table: pd.DataFrame = row["predictions"]
        truth, age = (table[column].to_numpy(dtype=np.float64) for column in ("truth", "age"))
        error, units = np.abs(age - truth), [groups.get(name, name) for name in table["name"]]
        before = _errors_of(whole["control"], table["name"])
        bands = {
            name: {"count": int(part.sum()), "mae": float(error[part].mean())}
            for name, ages in WIDE_BANDS.items()
            if (part := within(truth, *ages)).any()
        }
        rows.append(
            {
                **{key: value for key, value in row.items() if key != "predictions"},
                "count": len(table),
                "mae": mean_absolute_error(truth, age),
                "mae_range": bootstrap_range(error, units),
                "cs_curve": cumulative_curve(truth, age),
                "bands": bands,
                "gain_over_control": paired_bootstrap(before, error, units),
            }
        )
        if row["reading"]:
            own = _errors_of(whole[row["name"]], table["name"])
            rows[-1]["gain_of_the_whole"] = paired_bootstrap(error, own, units)
    return rows


def _errors_of(predictions: pd.DataFrame, names: pd.Series) -> Float[np.ndarray, " photo"]:
    """Absolute errors in years of some photos, in their order."""
    rows = predictions.loc[names]
    return np.abs(rows["age"] - rows["truth"]).to_numpy(dtype=np.float64)


def with_frozen_of(path: Path, report: dict[str, Any]) -> dict[str, Any]:
    """`report` with what the file at `path` says of the frozen trunk, where there is one."""
    before = read(path) if path.is_file() else {}
    return report | {key: before[key] for key in FROZEN_KEYS if key in before}


def read(path: Path) -> dict[str, Any]:
    """What `write` stored at `path`, a file named `JSON`."""
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def write(report: dict[str, Any], folder: Path) -> None:
    """Store the report and the document that is made of it."""
    write_json(report, folder / JSON)
    (folder / MARKDOWN).write_text(markdown(read(folder / JSON)), encoding="utf-8")


def markdown(report: dict[str, Any]) -> str:
    """The document."""
    whole, frozen = report["end_to_end"], report.get("frozen")
    parts = [HEAD]
    parts.append(
        END_TO_END.format(
            dataset=report["dataset"],
            part=report["part"],
            photos=whole[0]["count"],
            fitted=FITTED_ON_THESE if report["part"] == "tune" else "",
            table=_end_to_end(whole),
            gains=_gains(whole),
            curves=_curves(whole),
        )
    )
    if frozen:
        starts = {row["name"]: row.get("start_sha256") for row in whole}
        same = any(start == report["trunk_sha256"] for start in starts.values())
        parts.append(
            FROZEN.format(
                **report["budget"],
                trunk=SAME_TRUNK if same else OTHER_TRUNK.format(report["trunk_pictures"]),
                photos=report["tune_photos"],
                table=_frozen(frozen),
                answers=_answers(frozen),
            )
        )
    return "\n".join(parts)


SHIPPED = "CILF as shipped"


def _title(row: Mapping[str, Any]) -> str:
    name = row["name"]
    if name == SHIPPED:  # when it was measured; later weights may be better
        name += f" (weights {row['weights_sha256'][:8]})"
    return _named(f"{name}, {row['reading']}" if row["reading"] else name)


def _named(name: str) -> str:
    """What is a compact rebuild is called one."""
    return re.sub("^(LRA-GNN|MCGRL)", r"\1 (compact rebuild)", name)


def _end_to_end(rows: Sequence[Mapping[str, Any]]) -> str:
    bands = list(WIDE_BANDS)
    head = [
        "",
        "MAE (range)",
        "gain over the control (range)",
        *bands,
        "parameters",
        "multiply-adds",
        "ms a crop",
    ]
    head += ["training, minutes", "pictures drawn", "of"]
    lines = [_line(head), _line(["---"] * len(head))]
    for row in rows:
        if row["name"] == SHIPPED and not row["reading"]:
            lines.append(_line(["—"] * len(head)))
        gain = row["gain_over_control"]
        lines.append(
            _line(
                [
                    _title(row),
                    f"{row['mae']:.2f} ({span(row['mae_range'], '.2f')})",
                    f"{signed(gain['gain'], 2)} ({signed_span(gain['gain_range'], 2)})",
                    *(f"{row['bands'][name]['mae']:.2f}" if name in row["bands"] else "–" for name in bands),
                    f"{row['parameters'] / 1e6:.2f} M",
                    f"{row['multiply_adds'] / 1e6:.0f} M",
                    f"{row['milliseconds']:.1f}{'' if row['graph'] else ' (no graph)'}",
                    "not counted" if row["minutes"] is None else f"{row['minutes']:.1f}",
                    f"{row['pictures']:,}",
                    ", ".join(row["data"]),
                ]
            )
        )
    return "\n".join(lines)


def _gains(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each system that is also read without a part: what the part gains."""
    lines = []
    for row in rows:
        if gain := row.get("gain_of_the_whole"):
            ends = signed_span(gain["gain_range"], 2)
            lines.append(
                f"- {_named(row['name'])} against itself {row['reading']}: gain {signed(gain['gain'], 2)} ({ends})."
            )
    return "\n".join(lines)


def _curves(rows: Sequence[Mapping[str, Any]]) -> str:
    years = list(rows[0]["cs_curve"])
    lines = [_line(["share within years", *years]), _line(["---"] * (1 + len(years)))]
    lines += [_line([_title(row), *(f"{row['cs_curve'][year]:.1%}" for year in years)]) for row in rows]
    return "\n".join(lines)


def _frozen(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "| | seeds | fitted parameters | tune MAE | CS@5 | against | gain (range) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        gain = row.get("gain")
        written = f"{signed(gain['gain'], 3)} ({signed_span(gain['gain_range'], 3)})" if gain else ""
        lines.append(
            _line(
                [
                    _named(row["name"]),
                    str(row["seeds"]),
                    f"{row['parameters']:,}",
                    f"{row['mae']:.3f} ± {row['sd_over_seeds']:.3f}",
                    f"{row['cs5']:.1%}",
                    row.get("versus", "").replace(CONTROL, "control"),
                    written,
                ]
            )
        )
    return "\n".join(lines)


def _answers(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each question that the rows answer."""
    gains = {row["name"]: row["gain"] for row in rows if "gain" in row}
    lines = []
    for question, (name, sign) in QUESTIONS.items():
        if name not in gains:
            continue
        gain = sign * gains[name]["gain"]
        low, high = sorted(sign * end for end in gains[name]["gain_range"])
        answer = (
            "yes" if low > 0 else "no, it costs" if high < 0 else "not that one could tell it from chance"
        )
        lines.append(f"- {question} {answer}: {signed(gain, 3)} years ({signed_span((low, high), 3)}).")
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
