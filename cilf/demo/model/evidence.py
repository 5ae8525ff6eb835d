"""What is known of the weights in use, in plain words: where they come from, how well they do, what they are unfit for.

The figures are those of the report in the folder of the weights (`python -m train evaluate`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from cilf.demo import texts
from cilf.demo.charts import card, wide_table
from cilf.demo.model.model_card import to_html
from cilf.demo.server.model_host import Estimator
from cilf.model.registry import FAMILIES

Report = Mapping[str, Any]

# Groups of the report in the order of the table: the word before a group's name, and the heading above such groups.
KINDS = {"age": "By true age", "gender": "By gender, as labelled", "race": "By race, as labelled"}


@dataclass(frozen=True)
class Evidence:
    """Five pieces of HTML, in the order in which they answer questions; `adult` is empty where it was not measured."""

    facts: str
    limits: str
    measured: str
    adult: str
    card: str


def of(estimator: Estimator) -> Evidence:
    """What came with the weights; a report that is not laid out as ours counts as none."""
    try:
        return _of(estimator, estimator.report)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return _of(estimator, None)


def _of(estimator: Estimator, report: Report | None) -> Evidence:
    return Evidence(
        _facts(estimator, report),
        _limits(report),
        _measured(report),
        _adult(report),
        _model_card(estimator.card),
    )


def _facts(estimator: Estimator, report: Report | None) -> str:
    """What is loaded and from where."""
    body = f"""<p class="cilf-lead" id="in-use">{escape(estimator.source)}</p>
  <dl class="cilf-facts">
    <dt>System</dt><dd>{escape(FAMILIES[estimator.kind].summary)}</dd>
    <dt>Error</dt><dd>{_headline(report)}</dd>
    <dt>Interval</dt><dd>{_interval(report)}</dd>
    <dt>SHA-256</dt><dd><code>{escape(estimator.sha256)}</code></dd>
  </dl>"""
    return card("in-use", "In use", body)


def _measured(report: Report | None) -> str:
    """The measured errors of all test photos and of each group, as a table."""
    if not report or "all" not in report:
        return card("measured", "How well it does", "", texts.NO_REPORT)
    rows = _row("All test photos", report["all"])
    for kind, heading in KINDS.items():
        groups = [(name, row) for name, row in report.get("groups", {}).items() if _is_plain(name, kind)]
        if groups:
            rows += f'<tr class="cilf-group"><th scope="colgroup" colspan="5">{heading}</th></tr>'
            rows += "".join(_row(name.split()[1], row) for name, row in groups)
    headings = ("Photos of", "Number", "Mean absolute error, years", "Within 5 years", "Interval holds")
    body = wide_table("measured", "Measured errors by group of photos", headings, rows)
    return card("measured", "How well it does", body, texts.MEASURED_LEAD)


def _adult(report: Report | None) -> str:
    """How the question "18 or over?" was answered on the test photos; empty where that was not measured."""
    answers = (report or {}).get("over_18", {})
    if not answers:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th>'
        + "".join(f"<td>{_count(row.get(key))}</td>" for key in ("count", "yes", "unsure", "no"))
        + f"<td>{_percent(row.get('wrong'), 1)}</td></tr>"
        for name, row in answers.items()
    )
    headings = ("True age", "Photos", "Yes", "Unsure", "No", "Wrong")
    body = wide_table("adult", "Answers by true age", headings, rows)
    return card("adult", "18 or over?", body, texts.ADULT_LEAD)


def _limits(report: Report | None) -> str:
    """What the estimate is not, and for whom it is worst."""
    items = "".join(f"<li>{escape(each)}</li>" for each in (*_worst(report), *texts.LIMITS_PLAIN))
    return card("limits", "Limits", f'<ul class="cilf-list">{items}</ul>')


def _model_card(text: str) -> str:
    """What the weights' makers wrote, folded away."""
    if not text.strip():
        return card("card", "Model card", "", texts.NO_CARD)
    body = f"""<details class="cilf-details"><summary>Read the model card</summary>
  <div class="cilf-markdown">{to_html(text)}</div></details>"""
    return card("card", "Model card", body, texts.CARD_LEAD)


def _headline(report: Report | None) -> str:
    row = (report or {}).get("all", {})
    if "mae" not in row:
        return "not measured"
    return (
        f"{row['mae']:.1f} years on average, on {row['count']:,} photos of {escape(_data(report))} that it never "
        f"learned from; {_percent(row['cs5'])} of the faces within 5 years"
    )


def _interval(report: Report | None) -> str:
    interval = (report or {}).get("all", {}).get("interval")
    if not interval:
        return "not measured"
    return (
        f"holds the true age of {_percent(interval['coverage'])} of the faces, and is "
        f"{interval['mean_width']:.0f} years wide on average"
    )


def _data(report: Report | None) -> str:
    name = str((report or {}).get("dataset", "its data"))
    return {"utkface": "UTKFace", "all-age-faces": "All-Age-Faces"}.get(name, name)


def _is_plain(name: str, kind: str) -> bool:
    """Whether a group's name is the kind and one value; the report also crosses kinds."""
    words = name.split()
    return len(words) == 2 and words[0] == kind


def _row(name: str, row: Mapping[str, Any]) -> str:
    low, high = row["mae_range"]
    return (
        f'<tr><th scope="row">{escape(name)}</th><td>{_count(row["count"])}</td>'
        f'<td><b>{row["mae"]:.1f}</b> <span class="cilf-range-text">({low:.1f}–{high:.1f})</span></td>'
        f"<td>{_percent(row['cs5'])}</td><td>{_percent(row['interval']['coverage'])}</td></tr>"
    )


def _worst(report: Report | None) -> list[str]:
    """For whom it errs most, and in which direction, out of the report's age groups."""
    groups = {name: row for name, row in (report or {}).get("groups", {}).items() if _is_plain(name, "age")}
    if not groups:
        return []
    name, row = max(groups.items(), key=lambda item: item[1]["mae"])
    sentences = [f"Its errors are largest for {_people(name)}: {row['mae']:.1f} years on average."]
    name, row = max(groups.items(), key=lambda item: abs(item[1]["bias"]))
    if abs(row["bias"]) >= 1:
        way = "young" if row["bias"] < 0 else "old"
        sentences.append(
            f"It estimates {_people(name)} too {way}, by {abs(row['bias']):.1f} years on average."
        )
    return sentences


def _people(group: str) -> str:
    ages = group.split()[1]
    return f"people of {ages.removesuffix('+')} and over" if ages.endswith("+") else f"people of {ages} years"


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def _percent(share: float | None, digits: int = 0) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f} %"
