"""Charts of one face as small pieces of HTML: crisp at every width, themed by the style sheet, readable aloud.

Lengths are percentages of the chart, so that lines and bars stretch with the page while text keeps its size. Shapes
that carry no text are SVG, stretched without their strokes growing (`vector-effect`). Each chart is one labelled image
to a screen reader; tables are real tables.
"""

import math
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from cilf.demo import texts
from cilf.demo.charts import OLDEST, age_axis, card
from cilf.demo.photo.prompt_presets import Pair
from cilf.demo.uploads.images import jpeg_address
from cilf.face.annotation import overlay_heat
from cilf.prediction import ADULT, FacePrediction
from cilf.similarity.scores import PromptScore


def age_card(face: FacePrediction, index: int, count: int) -> str:
    """The chosen face: crop, age in large figures, interval, and both on a ruler from 0 to 100 years."""
    low, high = face.interval
    which = f"Face {index + 1} of {count}" if count > 1 else "Estimated age"
    title = texts.status_title(face)
    sign = texts.STATUS_SIGNS[face.status]
    return f"""
<section class="cilf-card cilf-age" aria-label="Age">
  <img class="cilf-crop" src="{jpeg_address(face.crop)}" alt="The face as the model sees it" width="112" height="112">
  <div class="cilf-age-text">
    <p class="cilf-over">{which}</p>
    <p class="cilf-big"><span id="age">{face.age:.0f}</span> <span class="cilf-unit">years</span></p>
    <p class="cilf-sub">90 % interval <strong>{low:.0f} to {high:.0f}</strong> · before rounding {face.age:.1f}</p>
  </div>
  <p class="cilf-status cilf-{face.status}"><span aria-hidden="true">{sign}</span> {title}</p>
  {_ruler(face)}
  {_over(face)}
</section>"""


def correction(face: FacePrediction, epsilon: float) -> str:
    """How the estimate came about: the story, the trace as two small plots with what each step saw, and as a table.

    `epsilon` is the limit of the estimated error in years.
    """
    steps = "cilf-steps cilf-single" if len(face.trace) == 1 else "cilf-steps"  # one point needs less height
    rows = "".join(
        f"<tr><th scope='row'>{step.iteration} · {escape(step.view)}</th><td>{step.age:.1f}</td>"
        f"<td>{step.estimated_error:.1f}</td><td>{texts.outcome(face, index)}</td></tr>"
        for index, step in enumerate(face.trace)
    )
    body = f"""<div class="cilf-two">
    <div class="{steps}">{_age_trace(face)}{_error_trace(face, epsilon)}{_views(face)}</div>
    <table class="cilf-table">
      <caption class="cilf-hidden">Steps of the correction</caption>
      <thead><tr><th scope="col">Step</th><th scope="col">Age</th><th scope="col">Error</th>
      <th scope="col">Outcome</th></tr></thead>
      <tbody>{rows}</tbody>
    </table>
  </div>"""
    return card("correction", "Correction, step by step", body, escape(texts.story(face, epsilon)))


def distribution(face: FacePrediction) -> str:
    """The calibrated probabilities of the ages 0 to 100, with the estimate and the interval."""
    shares = np.asarray(face.distribution, dtype=float)
    top = max(float(shares.max()), 1e-9)
    points = " ".join(
        f"{100 * age / OLDEST:.2f},{100 - 96 * share / top:.2f}" for age, share in enumerate(shares)
    )
    low, high = face.interval
    likeliest = int(np.argmax(shares))
    spoken = (
        f"Distribution over the ages 0 to 100. The likeliest single age is {likeliest} with {100 * top:.1f} percent; "
        f"the estimate is {face.age:.1f} years."
    )
    body = f"""<div class="cilf-plot cilf-tall" role="img" aria-label="{spoken}">
    <div class="cilf-band" style="left:{_x(low):.2f}%;width:{_x(high) - _x(low):.2f}%"></div>
    <svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
      <polygon class="cilf-fill" points="0,100 {points} 100,100"/>
      <polyline class="cilf-line" points="{points}"/>
    </svg>
    <div class="cilf-needle" style="left:{_x(face.age):.2f}%"></div>
  </div>
  {age_axis()}
  {_legend(("line", "probability"), ("needle", "estimate"), ("band", "90 % interval"))}"""
    lead = f"How likely each age is, after correction and calibration. Likeliest age: {likeliest}."
    return card("distribution", "Age distribution", body, lead)


def heat_map(face: FacePrediction) -> str:
    """Where in the face the model saw what counts for the age: the crop, and the crop under the heat map."""
    warm = jpeg_address(overlay_heat(face.crop, face.heatmap))
    body = f"""<div class="cilf-pair">
    <img src="{jpeg_address(face.crop)}" alt="The face, cut out and turned upright">
    <img src="{warm}" alt="{escape(_hottest(face.heatmap))}">
  </div>
  <div class="cilf-scale" aria-hidden="true"><span>little</span><i></i><span>much</span></div>"""
    lead = "How much each part of the face counts for the estimated age."
    return card("heat", "What the model saw", body, lead)


def prompt_scores(
    scores: Sequence[PromptScore],
    balances: Sequence[tuple[Pair, float]] = (),
    note: str = "",
    *,
    published: bool = False,
) -> str:
    """How well each prompt fits the face: a bar from the neutral prompt's fit, a bar for the share of the softmax, and
    a cross that removes it (`photo.js`); above them a balance for each pair of opposites.

    Args:
        scores: of the prompts, in their order.
        balances: opposites among the prompts, each with the first one's share of the two, in [0, 1].
        note: a remark above the bars; empty for none.
        published: whether a published CLIP compared, which learned no word from measurements as ours did.
    """
    if not scores:
        return f'<div class="cilf-empty">{escape(note or texts.NO_PROMPTS)}</div>'
    best = max(scores, key=lambda score: score.similarity)
    low, high = _fit_axis([score.above_neutral for score in scores])
    rows = "".join(_prompt_row(score, score is best, low, high, alone=len(scores) == 1) for score in scores)
    remark = f'<p class="cilf-note">{escape(note)}</p>' if note else ""
    measured = "" if published else f'<p class="cilf-small">{texts.MEASURED_WORDS}</p>'
    return f"""{remark}{"".join(_balance(*each) for each in balances)}
<table class="cilf-scores">
  <caption class="cilf-hidden">How well each prompt fits the face</caption>
  <thead><tr><th scope="col">Prompt</th><th scope="col">Fit</th><th scope="col">Share</th>
  <th scope="col"><span class="cilf-hidden">Remove</span></th></tr></thead>
  <tbody>{rows}</tbody>
</table>
<p class="cilf-small">{texts.FIT} {escape(texts.scored_by(best.scored_by))}</p>{measured}"""


def nothing_yet() -> str:
    """Placeholder of the results before the first photo."""
    return f"""
<div class="cilf-card cilf-waiting">
  <svg viewBox="0 0 120 60" width="120" height="60" aria-hidden="true">
    <path class="cilf-line" d="M8 44h104M8 38v12M112 38v12"/>
    <path class="cilf-soft" d="M46 44h36"/>
    <circle class="cilf-spot" cx="64" cy="44" r="6"/>
  </svg>
  <h2>The results appear here</h2>
  <p class="cilf-lead">{texts.WAITING}</p>
</div>"""


def prompts_heading() -> str:
    """Title of the prompt section, above its bars and its editor."""
    return f"""<h2>How well do these words fit?</h2><p class="cilf-lead">{texts.PROMPTS_LEAD}</p>"""


def thumbnail(picture: np.ndarray, size: int = 112) -> str:
    """A square of `size` pixels of the upper middle of a (H, W, 3) uint8 picture, where a portrait has its face, as a
    `data:` address."""
    height, width = picture.shape[:2]
    side = min(height, width)
    left = (width - side) // 2
    square = Image.fromarray(picture[:side, left : left + side]).resize(
        (size, size), Image.Resampling.LANCZOS
    )
    return jpeg_address(np.asarray(square), quality=82)


def _over(face: FacePrediction) -> str:
    answer, _, reason = texts.over(face, ADULT).partition(" ")
    return f"""
  <p class="cilf-over-limit cilf-{face.over(ADULT)}"><b>{ADULT} or over?</b>
  <strong id="over">{answer}</strong> {reason}</p>"""


def _ruler(face: FacePrediction) -> str:
    low, high = face.interval
    return f"""
  <div class="cilf-ruler" role="img" aria-label="{texts.ruler(face)}">
    <div class="cilf-track">
      <div class="cilf-range" style="left:{_x(low):.2f}%;width:{_x(high) - _x(low):.2f}%"></div>
      <div class="cilf-dot" style="left:{_x(face.age):.2f}%"></div>
    </div>
    {age_axis()}
  </div>"""


def _age_trace(face: FacePrediction) -> str:
    """Ages of all steps; accepted steps are joined by a line, rejected ones stand hollow at its side."""
    ages = [step.age for step in face.trace]
    low, high = _room(ages, least=6.0)
    across = _across(len(ages))
    spots = [(x, 100 - 100 * (age - low) / (high - low)) for x, age in zip(across, ages, strict=True)]
    line, tries, previous = [spots[0]], [], spots[0]
    for index, step in enumerate(face.trace[1:], start=1):
        if step.accepted:
            line.append(spots[index])
            previous = spots[index]
        else:
            tries.append((previous, spots[index]))
    if line[-1][0] < across[-1]:
        line.append((across[-1], line[-1][1]))  # what was kept, up to the last step
    shapes = f'<polyline class="cilf-line" points="{_points(line)}"/>' if len(line) > 1 else ""
    shapes += "".join(f'<polyline class="cilf-try" points="{_points(pair)}"/>' for pair in tries)
    marks = "".join(
        f'<span class="cilf-mark{"" if index == 0 or step.accepted else " cilf-hollow"}" '
        f'style="left:{x:.2f}%;top:{y:.2f}%"><b>{step.age:.1f}</b></span>'
        for index, (step, (x, y)) in enumerate(zip(face.trace, spots, strict=True))
    )
    spoken = "Age at each step: " + ", ".join(
        f"{age:.1f} ({texts.outcome(face, index)})" for index, age in enumerate(ages)
    )
    return f"""
<p class="cilf-plot-title">Age, years</p>
<div class="cilf-plot cilf-trace" role="img" aria-label="{spoken}">
  <svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{shapes}</svg>{marks}
</div>"""


def _error_trace(face: FacePrediction, epsilon: float) -> str:
    """The estimated error of every step as a bar, against the limit."""
    errors = [step.estimated_error for step in face.trace]
    top = 1.25 * max([epsilon, *errors, 1e-9])
    across = _across(len(errors))
    bars = "".join(
        f'<span class="cilf-column{"" if index == 0 or face.trace[index].accepted else " cilf-hollow"}" '
        f'style="left:{x:.2f}%;height:{100 * error / top:.2f}%"><b>{error:.1f}</b></span>'
        for index, (x, error) in enumerate(zip(across, errors, strict=True))
    )
    steps = "".join(f'<span style="left:{x:.2f}%">{index}</span>' for index, x in enumerate(across))
    spoken = f"Estimated error at each step, limit {epsilon:.1f} years: " + ", ".join(
        f"{e:.1f}" for e in errors
    )
    return f"""
<p class="cilf-plot-title">Estimated error, years</p>
<div class="cilf-plot cilf-columns" role="img" aria-label="{spoken}">
  {bars}
  <div class="cilf-limit" style="bottom:{100 * epsilon / top:.2f}%"><b>limit {epsilon:.1f}</b></div>
</div>
<div class="cilf-axis" aria-hidden="true">{steps}</div>
<p class="cilf-axis-title" aria-hidden="true">step</p>"""


def _views(face: FacePrediction) -> str:
    """The crop of every step, each under its bar; nothing where the first one was enough."""
    if not face.further_crops:
        return ""
    crops = zip(face.trace, (face.crop, *face.further_crops), strict=True)
    pictures = "".join(
        f'<img src="{thumbnail(crop)}" alt="Step {step.iteration}: {escape(step.view)}" title="{escape(step.view)}">'
        for step, crop in crops
    )
    columns = f"grid-template-columns:repeat({len(face.trace)},minmax(0,1fr))"
    return f"""
<p class="cilf-plot-title">What each step saw</p>
<div class="cilf-views" style="{columns}">{pictures}</div>"""


def _prompt_row(score: PromptScore, best: bool, low: float, high: float, alone: bool) -> str:
    """A prompt's row; one that is `alone` has no share, which would always be all."""
    prompt, fit = score.prompt, score.above_neutral
    zero, end = (100 * (value - low) / (high - low) for value in (0.0, fit))
    sentence = escape(texts.unknown_words(score.nearest_words))
    warning = f'<span class="cilf-unknown"><span aria-hidden="true">△</span> {sentence}</span>'
    # A minus sign of a figure's width instead of the shorter hyphen.
    shown = f"{fit:+z.2f}".replace("-", "−")
    return f"""
<tr{' class="cilf-best"' if best else ""}>
  <th scope="row">{escape(prompt)}{warning if score.nearest_words else ""}</th>
  <td>{_bar("fit", min(zero, end), abs(end - zero), zero)}{shown}</td>
  <td>{"–" if alone else _bar("share", 0.0, 100 * score.share) + _percent(score.share)}</td>
  <td class="cilf-cross"><button type="button" data-prompt="{escape(prompt)}" title="Remove"
    aria-label="{escape(texts.REMOVE_PROMPT.format(prompt))}">✕</button></td>
</tr>"""


def _balance(pair: Pair, share: float) -> str:
    """Two opposites, and where between them the face lies."""
    shares = _percent(share), _percent(1 - share)
    spoken = f"{pair.first} {shares[0]}, {pair.second} {shares[1]}"
    first, second = (
        f'<span class="{"cilf-heavy" if more else ""}">{escape(name)} {shown.replace(" ", "&nbsp;")}</span>'
        for name, shown, more in ((pair.first, shares[0], share > 0.5), (pair.second, shares[1], share < 0.5))
    )
    return f"""<div class="cilf-balance" role="img" aria-label="{escape(spoken)}">
  {first}<span class="cilf-beam"><i style="left:{100 * (1 - share):.1f}%"></i></span>{second}
</div>"""


def _bar(kind: str, left: float, width: float, zero: float = 0.0) -> str:
    style = f"left:{left:.1f}%;width:{width:.1f}%"
    mark = f'<b style="left:{zero:.1f}%"></b>' if zero else ""
    return f'<span class="cilf-bar">{mark}<i class="cilf-{kind}" style="{style}"></i></span>'


def _legend(*entries: tuple[str, str]) -> str:
    items = "".join(f'<span><i class="cilf-key-{key}"></i>{text}</span>' for key, text in entries)
    return f'<p class="cilf-legend" aria-hidden="true">{items}</p>'


def _hottest(heatmap: np.ndarray) -> str:
    """In words, where the heat map is strongest."""
    rows, columns = heatmap.shape
    row, column = np.unravel_index(int(np.argmax(heatmap)), heatmap.shape)
    upright = ("upper", "middle", "lower")[min(2, int(3 * (row + 0.5) / rows))]
    across = ("left", "centre", "right")[min(2, int(3 * (column + 0.5) / columns))]
    return f"Heat map over the face, strongest in the {upright} part, {across}"


def _fit_axis(values: Sequence[float]) -> tuple[float, float]:
    """From and to of the bars: zero is always on it, the ends are whole tenths."""
    low, high = min([0.0, *values]), max([0.0, *values])
    low, high = math.floor(10 * low - 1e-9) / 10 if low < 0 else 0.0, math.ceil(10 * high + 1e-9) / 10
    return (low, high) if high > low else (0.0, 1.0)


def _percent(share: float) -> str:
    return "<1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def _across(steps: int) -> list[float]:
    """Where the steps stand, in percent from the left: evenly, none at the edge."""
    return [100 * (index + 0.5) / steps for index in range(steps)]


def _room(values: Sequence[float], least: float) -> tuple[float, float]:
    """A range that holds all values with room for labels above and below, `least` wide at least."""
    middle, half = (min(values) + max(values)) / 2, max(max(values) - min(values), least) / 2
    return middle - 1.5 * half, middle + 1.9 * half


def _points(spots: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in spots)


def _x(age: float) -> float:
    """Where an age stands on the ruler, in percent from the left."""
    return 100 * min(max(age, 0.0), OLDEST) / OLDEST
