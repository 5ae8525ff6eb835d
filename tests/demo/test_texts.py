"""The sentences of the page."""

from dataclasses import replace

from cilf.demo import texts
from cilf.errors import PhotoError
from cilf.prediction import TraceStep
from tests.stand_in import EPSILON, make_face


def test_an_accepted_guess_is_said_to_be_kept() -> None:
    story = texts.story(make_face(41.2), EPSILON)
    assert "41.2" in story
    assert "3.0" in story
    assert "kept" in story


def test_a_correction_names_the_first_and_the_last_age() -> None:
    trace = (TraceStep(0, 41.0, 6.0, True), TraceStep(1, 30.0, 7.0, False), TraceStep(2, 36.0, 4.0, True))
    face = replace(make_face(36.0), initial_age=41.0, trace=trace, status="corrected")
    story = texts.story(face, EPSILON)
    assert story.index("41.0") < story.index("36.0")
    assert "30.0" not in story
    assert "One correction" in story


def test_views_that_confirm_the_guess_are_no_correction() -> None:
    trace = (TraceStep(0, 41.0, 6.0, True), TraceStep(1, 41.5, 4.1, False, "mirrored", 4.2))
    face = replace(make_face(41.0), trace=trace, status="corrected")
    story = texts.story(face, EPSILON)
    assert "One further view confirmed it" in story
    assert "4.2" in story
    assert "with care" not in story


def test_low_confidence_asks_for_care() -> None:
    trace = (TraceStep(0, 41.0, 6.0, True), TraceStep(1, 30.0, 7.0, False))
    face = replace(make_face(41.0), trace=trace, status="low_confidence")
    assert "with care" in texts.story(face, EPSILON)


def test_prompts_are_the_lines_without_blanks_and_repetitions() -> None:
    assert texts.prompt_lines("a" * 32_000) == ["a" * 120]
    assert texts.prompt_lines("  a  child \n\na child\nan old man\n") == ["a child", "an old man"]


def test_an_error_becomes_a_sentence() -> None:
    assert texts.sentence(PhotoError("nothing there")) == "Nothing there."
