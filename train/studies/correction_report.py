"""Markdown tables and the figure of a sweep of the correction (`train.studies.correction_sweep`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from train.formatting import signed, signed_span

COLOURS = ("#d9820f", "#0b6aa8")  # of the parts, in their order


def table(report: dict[str, Any]) -> str:
    """Rules, controls and the ensemble's calibration, as three tables."""
    parts = (rules(report["sweep"]), controls(report["controls"]), calibration(report["calibration"]))
    return "\n\n".join(parts)


def rules(rows: Sequence[dict[str, Any]]) -> str:
    """A row for each ε and number of iterations: MAE, shares of the photos that change, improve or get worse, gain."""
    parts = [name for name, value in rows[0].items() if isinstance(value, dict)] if rows else []
    effects = " | ".join(
        f"MAE, {part} | changed | better | worse | gain, {part} (95 % range)" for part in parts
    )
    lines = [f"| ε, years | iterations | {effects} |", "|---" * (2 + 5 * len(parts)) + "|"]
    lines += [
        f"| {row['epsilon']:.2f} | {row['iterations']} | {' | '.join(_effect(row[part]) for part in parts)} |"
        for row in rows
    ]
    return "\n".join(lines)


def _effect(row: dict[str, Any]) -> str:
    shares = " | ".join(f"{row[f'share_{name}']:.1%}" for name in ("changed", "better", "worse"))
    return f"{row['mae']:.3f} | {shares} | {_gain(row['mean_gain'], row['gain_range'])}"


def _gain(gain: float, ends: Sequence[float]) -> str:
    return f"{signed(gain, 3)} ({signed_span(ends, 3)})"


def controls(report: dict[str, Any]) -> str:
    """A row for each way to change the age without the loop, and for the loop."""
    columns = " | ".join(f"MAE, {part} | gain, {part} (95 % range)" for part in report)
    lines = [f"| control | {columns} |", "|---" * (1 + 2 * len(report)) + "|"]
    for name in report["test"]:
        rows = [report[part][name] for part in report]
        cells = " | ".join(f"{row['mae']:.3f} | {_gain(row['gain'], row['gain_range'])}" for row in rows)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def calibration(report: dict[str, Any]) -> str:
    """How well the ensemble knows the errors: a row for each part."""
    lines = [
        "| part | top tenth, estimated error | its real error | rank correlation, all photos "
        "| mean difference of estimated and real error |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {part} | {row['estimated'][-1]:.2f} | {row['real'][-1]:.2f} | {row['rank_correlation']:.2f} "
        f"| {row['mean_absolute_difference']:.2f} |"
        for part, row in report.items()
    ]
    return "\n".join(lines)


def figure(report: dict[str, Any], path: Path) -> None:
    """MAE, gain, share changed and share worse over ε; and estimated against real error."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    tried = sorted({row["iterations"] for row in report["sweep"]})
    drawing, ((mae, gain), (shares, errors)) = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    for part, colour in zip(report["calibration"], COLOURS, strict=True):
        for iterations, dash in zip(
            (tried[:1] + tried[-1:]), ("--", "-"), strict=False
        ):  # none without views
            rows = [row for row in report["sweep"] if row["iterations"] == iterations]
            epsilon = [row["epsilon"] for row in rows]
            label = f"{part}, up to {iterations} iteration{'s' * (iterations > 1)}"
            mae.plot(epsilon, [row[part]["mae"] for row in rows], dash, color=colour, label=label)
            gain.plot(epsilon, [row[part]["mean_gain"] for row in rows], dash, color=colour, label=label)
        for name, dash in (("changed", "-"), ("worse", ":")):
            if tried:
                share = [100 * row[part][f"share_{name}"] for row in rows]
                shares.plot(epsilon, share, dash, color=colour, label=f"{part}, {name}")
        measured = report["calibration"][part]
        errors.plot(measured["estimated"], measured["real"], "o-", color=colour, label=part)
    ends = (0, max(max(report["calibration"]["test"][key]) for key in ("estimated", "real")))
    errors.plot(ends, ends, color="grey", linewidth=0.8, label="perfect")
    errors.set(xlabel="estimated error, years", ylabel="real error, years (mean of a tenth of the photos)")
    gain.axhline(0, color="grey", linewidth=0.8)
    mae.set(ylabel="mean absolute error, years")
    gain.set(ylabel="gain over the first estimate, years")
    shares.set(ylabel=f"share of the photos, %, up to {max(tried, default=0)} iterations", ylim=(0, None))
    for axes in (mae, gain, shares):
        axes.set(xlabel="ε, years of estimated error")
    for axes in (mae, gain, shares, errors):
        axes.legend(frameon=False, fontsize=8, loc="upper left" if axes is errors else "best")
        axes.spines[["top", "right"]].set_visible(False)
    drawing.savefig(path, dpi=110)
    plt.close(drawing)
