"""What the charts of a face show, and that a visitor's words are escaped in them."""

import re
from dataclasses import replace
from html import escape

import numpy as np
import pytest

from cilf.demo import texts
from cilf.demo.charts import message, model_state
from cilf.demo.photo import charts
from cilf.demo.photo.prompt_presets import Pair
from cilf.prediction import TraceStep
from cilf.similarity.scores import PromptScore
from tests.stand_in import EPSILON, make_face


def score(
    prompt: str,
    above_neutral: float,
    share: float = 0.5,
    nearest: dict[str, list[str]] | None = None,
    scored_by: str = "the tower",
) -> PromptScore:
    return PromptScore(prompt, above_neutral + 0.1, above_neutral, share, nearest or {}, scored_by)


def test_the_age_card_shows_rounded_age_and_interval() -> None:
    card = charts.age_card(make_face(41.6), 1, 3)
    assert ">42<" in card
    assert "34 to 51" in card
    assert "Face 2 of 3" in card


def test_every_step_of_the_trace_stands_in_the_table() -> None:
    trace = tuple(
        TraceStep(step, 40.0 + step, 6.0 - step, step != 1, kept_error=5.8 - step) for step in range(4)
    )
    table = charts.correction(replace(make_face(43.0), trace=trace, status="corrected"), EPSILON)
    assert re.findall(r"<th scope='row'>(\d) · first crop</th><td>([\d.]+)</td>", table) == [
        ("0", "40.0"),
        ("1", "41.0"),
        ("2", "42.0"),
        ("3", "43.0"),
    ]
    assert table.count("<td>not taken; error of the kept age 4.8</td>") == 1


def test_the_crop_of_every_step_is_shown() -> None:
    trace = (TraceStep(0, 40.0, 6.0, True), TraceStep(1, 41.0, 4.0, True, "mirrored"))
    face = replace(make_face(41.0), trace=trace, status="corrected")
    face = replace(face, further_crops=(np.full((112, 112, 3), 200, np.uint8),))
    pictures = re.findall(
        r'<img src="(data:image/jpeg;base64,[^"]+)" alt="([^"]+)"', charts.correction(face, EPSILON)
    )
    assert [text for _, text in pictures] == ["Step 0: first crop", "Step 1: mirrored"]
    assert pictures[0][0] != pictures[1][0]


def test_a_face_that_was_accepted_at_once_has_no_further_pictures() -> None:
    assert "<img" not in charts.correction(make_face(40.0), EPSILON)


def test_a_guess_that_was_confirmed_is_not_called_corrected() -> None:
    trace = (TraceStep(0, 40.0, 6.0, True), TraceStep(1, 41.0, 5.0, False, kept_error=4.2))
    face = replace(make_face(40.0), trace=trace, status="corrected")
    assert "↻</span> Confirmed" in charts.age_card(face, 0, 1)
    moved = replace(face, trace=(trace[0], replace(trace[1], accepted=True)))
    assert "↻</span> Corrected" in charts.age_card(moved, 0, 1)


def test_an_error_just_above_the_limit_is_not_told_as_the_limit() -> None:
    face = replace(make_face(40.0), trace=(TraceStep(0, 40.0, 4.72, True),), status="low_confidence")
    assert "4.72 years off, more than the limit of 4.67" in texts.story(face, 4.67)
    assert "limit of 4.5" in texts.story(face, 4.5)


def test_a_single_prompt_has_no_share() -> None:
    assert "100 %" not in charts.prompt_scores([score("a photo of a child", 0.1, 1.0)])
    assert "50 %" in charts.prompt_scores([score("a", 0.1), score("b", 0.1)])


def test_the_distribution_peaks_at_the_likeliest_age() -> None:
    chart = charts.distribution(make_face(30.0))
    points = re.search(r'<polyline class="cilf-line" points="([^"]+)"', chart)
    assert points is not None
    heights = [float(point.split(",")[1]) for point in points[1].split()]
    assert len(heights) == 101
    assert int(np.argmin(heights)) == 30  # heights count from the top


def test_the_interval_stays_on_the_ruler() -> None:
    card = charts.age_card(replace(make_face(95.0), interval=(-4.0, 130.0)), 0, 1)
    assert "left:0.00%;width:100.00%" in card


def test_what_a_visitor_writes_is_escaped() -> None:
    prompt = "<img src=x onerror=alert(1)>"
    scores = [score(prompt, 0.2, nearest={"<b>": ["<u>"]}, scored_by="<s>")]
    table = charts.prompt_scores(scores, note="<i>")
    assert "<img" not in table
    assert "<b>" not in table
    assert "<u>" not in table
    assert "<s>" not in table
    assert "<i>" not in table.replace('<i class="', "")
    assert "<img" not in message(prompt)
    assert "<img" not in model_state("failed", prompt)


def test_fit_and_share_stand_beside_unknown_words() -> None:
    scores = [
        score("a", -0.25, share=0.1),
        score("b zebra", 0.5, share=0.9, nearest={"zebra": ["bearded"], "qqq": []}),
    ]
    table = charts.prompt_scores(scores)
    assert "−0.25" in table
    assert "+0.50" in table
    assert "90 %" in table
    assert "Not seen in training: “zebra” (try “bearded”), “qqq”<" in table
    assert "Compared by the tower." in table


def test_a_balance_says_where_between_two_opposites_the_face_lies() -> None:
    pair = Pair("smiling", "serious", "a smiling person", "a serious person")
    table = charts.prompt_scores([score("a smiling person", 0.1)], [(pair, 0.8)])
    assert 'aria-label="smiling 80 %, serious 20 %"' in table
    assert re.search(
        r'cilf-heavy">smiling 80&nbsp;%<.*left:20\.0%.*<span class="">serious 20&nbsp;%', table, re.DOTALL
    )


def test_measured_words_are_said_to_be_that_but_not_of_a_published_clip() -> None:
    scores = [score("a smiling man", 0.1)]
    assert texts.MEASURED_WORDS in charts.prompt_scores(scores)
    assert texts.MEASURED_WORDS not in charts.prompt_scores(scores, published=True)


def test_every_prompt_can_be_removed() -> None:
    prompt = 'a "young" <b>man'
    table = charts.prompt_scores([score(prompt, 0.2), score("b", 0.1)])
    assert re.findall(r'data-prompt="([^"]*)"', table) == [escape(prompt), "b"]
    assert table.count("aria-label=") == 2


def test_bars_of_prompts_that_fit_worse_end_where_the_others_begin() -> None:
    table = charts.prompt_scores([score("a", -0.2), score("b", 0.2)])
    bars = re.findall(r'cilf-fit" style="left:([\d.]+)%;width:([\d.]+)%', table)
    (left, width), (zero, _) = [(float(left), float(width)) for left, width in bars]
    assert left + width == pytest.approx(zero, abs=0.2)


def test_no_prompt_asks_for_one() -> None:
    assert texts.NO_PROMPTS in charts.prompt_scores(())


def test_the_heat_map_is_told_in_words() -> None:
    heat = np.zeros((6, 6), np.float32)
    heat[0, 5] = 1
    assert "upper part, right" in charts.heat_map(replace(make_face(), heatmap=heat))
