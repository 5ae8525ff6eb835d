"""The Photo tab's answers to a visitor, called as Gradio calls them, without a trained model."""

import base64
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from gradio.context import Context
from PIL import Image

from cilf.demo import texts
from cilf.demo.photo import examples
from cilf.demo.photo.prompt_presets import PAIRS, PRESETS
from cilf.demo.photo.tab import PhotoTab
from cilf.demo.server.model_host import ModelHost
from cilf.demo.server.sessions import Visits
from cilf.demo.uploads.pixel_budget import PixelBudget
from cilf.errors import WeightsError
from cilf.prediction import FacePrediction
from tests.demo.conftest import blocks, file_payload, request, send, wait_for
from tests.stand_in import FakeEstimator, make_face
from train.data.captions import RACES


@pytest.fixture
def estimator() -> FakeEstimator:
    return FakeEstimator([make_face(30.0), make_face(50.0, box=(250.0, 80.0, 350.0, 180.0))])


@pytest.fixture
def visits() -> Visits:
    return Visits()


@pytest.fixture
def tab(estimator: FakeEstimator, visits: Visits) -> Iterator[PhotoTab]:
    host = ModelHost(lambda: estimator)
    host.start()
    host.get()
    with blocks():
        yield PhotoTab(host, visits)


@pytest.fixture
def file(tmp_path: Path, photo: np.ndarray) -> Path:
    path = tmp_path / "upload" / "family.png"
    path.parent.mkdir()
    Image.fromarray(photo).save(path)
    return path


def last(answers: Iterator[dict[Any, Any]]) -> dict[Any, Any]:
    return list(answers)[-1]


def test_a_photo_is_answered_and_its_file_removed(tab: PhotoTab, file: Path) -> None:
    answer = last(send(tab, file, "a child\na zebra", request()))
    assert "Face 1 of 2" in answer[tab.age]
    assert "2 faces" in answer[tab.message]
    assert [index for _, index in answer[tab.picker].choices] == [0, 1]
    assert "zebra" in answer[tab.scores]
    drawn = Image.open(io.BytesIO(base64.b64decode(answer[tab.photo]["url"].partition(",")[2])))
    assert drawn.size == (400, 300)
    assert not file.exists()


def test_a_click_and_the_picker_choose_the_face(tab: PhotoTab, file: Path) -> None:
    last(send(tab, file, "a child", request()))
    click = gr.SelectData(None, {"index": [300, 100], "value": None})
    assert "Face 2 of 2" in tab.on_click("a child", request(), click)[tab.age]
    assert "Face 1 of 2" in tab.on_pick(0, "a child", request())[tab.age]
    beside = gr.SelectData(None, {"index": [5, 5], "value": None})
    assert tab.age not in tab.on_click("a child", request(), beside)


def test_another_face_waits_for_room_in_memory(
    tab: PhotoTab, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last(send(tab, file, "a child", request()))
    held: list[int] = []

    class Counted(PixelBudget):
        @contextmanager
        def hold(self, pixels: int) -> Iterator[None]:
            held.append(pixels)
            yield

    monkeypatch.setattr("cilf.demo.photo.tab.IN_WORK", Counted(1))
    tab.on_pick(1, "a child", request())
    assert held == [400 * 300]


def test_a_click_and_the_picker_say_that_a_photo_is_forgotten(
    tab: PhotoTab, file: Path, visits: Visits
) -> None:
    click = gr.SelectData(None, {"index": [300, 100], "value": None})
    last(send(tab, file, "a child", request()))
    visits.begin("page")  # the next photo is being predicted
    assert tab.on_click("a child", request(), click) == {tab.message: gr.skip()}
    visits.forget("page")
    assert texts.FORGOTTEN in tab.on_click("a child", request(), click)[tab.message]
    assert texts.FORGOTTEN in tab.on_pick(0, "a child", request())[tab.message]


def test_prompts_are_scored_without_the_photo(tab: PhotoTab, file: Path, estimator: FakeEstimator) -> None:
    last(send(tab, file, "a child", request()))
    answer = tab.on_prompts("an old man\na zebra", 1, request())
    assert "an old man" in answer[tab.scores]
    assert "Not seen in training" in answer[tab.scores]
    assert len(estimator.photos) == 1


def test_opposites_are_balanced_where_both_are_scored(tab: PhotoTab, file: Path) -> None:
    last(send(tab, file, "a child", request()))
    expression = PRESETS["Expression"]
    both = tab.on_prompts("\n".join(expression), 0, request())[tab.scores]
    assert both.count("cilf-balance") == len(PAIRS["Expression"])
    assert "cilf-balance" not in tab.on_prompts("\n".join(expression[1:2]), 0, request())[tab.scores]


def test_a_set_is_offered_only_to_weights_that_know_its_words(
    tab: PhotoTab, file: Path, estimator: FakeEstimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        estimator,
        "unknown_words",
        lambda prompts: {prompt: ["smiling"] for prompt in prompts if "smiling" in prompt},
    )
    answer = last(send(tab, file, "a child", request()))
    offered = dict(zip(PRESETS, (answer[button].visible for button in tab.presets), strict=True))
    assert offered == {name: name != "Expression" for name in PRESETS}


def test_no_set_asks_for_race() -> None:
    asked = " ".join(prompt for prompts in PRESETS.values() for prompt in prompts)
    words = set(asked.replace("black and white", "").split())
    assert not words & {*RACES, "african", "european", "caucasian", "hispanic", "latino", "skin"}


def test_prompts_that_were_edited_during_the_look_are_scored_after_it(
    tab: PhotoTab, file: Path, estimator: FakeEstimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile: list[dict[Any, Any]] = []
    during_a_prediction(
        estimator, monkeypatch, lambda: meanwhile.append(tab.on_prompts("a zebra", 1, request()))
    )
    last(send(tab, file, "a child", request()))
    assert meanwhile == [{tab.message: gr.skip()}]
    assert tab.on_answered("a child", 0, request()) == {tab.message: gr.skip()}
    assert "zebra" in tab.on_answered("a zebra", 0, request())[tab.scores]


def test_prompts_are_scored_after_every_look(tab: PhotoTab) -> None:
    assert Context.root_block is not None
    events = Context.root_block.fns.values()
    predictions = {each._id for each in events if each.concurrency_id == "predict"}
    scorings = [each for each in events if each.name == "on_answered"]
    assert predictions == {each.trigger_after for each in scorings}
    assert not any(each.preprocess for each in events if tab.picker in each.inputs)


@pytest.mark.parametrize("choice", [2, -1])
def test_a_face_that_the_photo_does_not_have_changes_nothing(tab: PhotoTab, file: Path, choice: int) -> None:
    last(send(tab, file, "a child", request()))
    assert tab.on_pick(choice, "a child", request()) == {tab.message: gr.skip()}
    assert tab.on_prompts("a zebra", choice, request()) == {tab.message: gr.skip()}


def test_more_prompts_than_are_scored_are_counted_out(tab: PhotoTab, file: Path) -> None:
    last(send(tab, file, "a child", request()))
    many = "\n".join(f"prompt {index}" for index in range(texts.MAX_PROMPTS + 5))
    scores = tab.on_prompts(many, 0, request())[tab.scores]
    assert scores.count('<th scope="row">') == texts.MAX_PROMPTS
    assert str(texts.MAX_PROMPTS) in scores
    assert texts.NO_PROMPTS in tab.on_prompts(" \n", 0, request())[tab.scores]


def test_no_face_offers_the_whole_picture(tab: PhotoTab, tmp_path: Path) -> None:
    file = tmp_path / "plain.png"
    Image.new("RGB", (80, 60), "green").save(file)
    answer = last(send(tab, file, "a child", request()))
    assert texts.NO_FACE in answer[tab.message]
    assert answer[tab.whole].visible
    answer = last(tab.on_whole("a child", request()))
    assert "40" in answer[tab.age]


def test_a_photo_of_another_page_is_not_shown(tab: PhotoTab, file: Path) -> None:
    last(send(tab, file, "a child", request("mine")))
    assert texts.FORGOTTEN in tab.on_pick(0, "a child", request("yours"))[tab.message]
    assert texts.FORGOTTEN in last(tab.on_whole("a child", request("yours")))[tab.message]


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "one pixel", "vanished"])
def test_bad_files_give_a_sentence_and_the_page_goes_on(
    tab: PhotoTab, file: Path, tmp_path: Path, photo: np.ndarray, kind: str
) -> None:
    bad = tmp_path / "bad.jpg"
    if kind == "empty":
        bad.touch()
    elif kind == "text":
        bad.write_text("no picture")
    elif kind == "truncated":
        Image.fromarray(photo).save(bad)
        bad.write_bytes(bad.read_bytes()[:2000])
    elif kind == "one pixel":
        Image.new("RGB", (1, 1)).save(bad)
    answer = last(send(tab, bad, "a child", request()))
    assert "bad.jpg" in answer[tab.message]
    assert str(tmp_path) not in answer[tab.message]
    assert answer[tab.photo] is None
    assert not bad.exists()
    assert "Face 1" in last(send(tab, file, "a child", request()))[tab.age]


def test_the_unexpected_becomes_a_sentence_too(
    tab: PhotoTab,
    file: Path,
    estimator: FakeEstimator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(estimator, "predict", broken)
    answer = last(send(tab, file, "a child", request()))
    assert texts.UNEXPECTED in answer[tab.message]
    assert "family" not in caplog.text  # nothing of the visitor's in the log


def test_an_emptied_area_empties_the_page_and_the_memory(tab: PhotoTab, file: Path, visits: Visits) -> None:
    last(send(tab, file, "a child", request()))
    answer = wait_for(tab.on_empty(request()))
    assert not answer[tab.results].visible
    assert visits.get("page") is None


@pytest.mark.parametrize("way", ["emptied", "replaced", "picked", "whole", "prompts"])
def test_what_is_no_longer_in_view_is_not_kept_by_gradio(
    estimator: FakeEstimator, file: Path, photo: np.ndarray, way: str
) -> None:
    forgotten: list[str] = []
    host = ModelHost(lambda: estimator)
    host.start()
    visits = Visits()
    with blocks():
        tab = PhotoTab(host, visits, forgotten.append)
    last(send(tab, file, "a child", request()))
    forgotten.clear()
    if way == "emptied":
        wait_for(tab.on_empty(request()))
    elif way == "replaced":
        file.parent.mkdir()
        Image.fromarray(photo).save(file)
        wait_for(tab.on_arrived(file_payload(file), request()))
    else:
        visits.forget("page")  # as for its age
        ways: dict[str, Callable[[], object]] = {
            "picked": lambda: tab.on_pick(0, "a child", request()),
            "whole": lambda: list(tab.on_whole("a child", request())),
            "prompts": lambda: tab.on_prompts("a child", 0, request()),
        }
        ways[way]()
    assert forgotten == ["page"]


def during_a_prediction(
    estimator: FakeEstimator, monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]
) -> None:
    """Let the visitor `do` something while the next photo is being predicted."""
    predict_now = estimator.predict

    def predict(*arguments: Any, **options: Any) -> list[FacePrediction]:
        monkeypatch.setattr(estimator, "predict", predict_now)
        do()
        return predict_now(*arguments, **options)

    monkeypatch.setattr(estimator, "predict", predict)


@pytest.mark.parametrize("way", ["emptied", "left", "another"])
def test_a_late_answer_does_not_override_what_the_visitor_did(
    tab: PhotoTab,
    file: Path,
    visits: Visits,
    estimator: FakeEstimator,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    (chosen, _), another = tab._example_steps(0), tab._example_handler(0)
    ways: dict[str, Callable[[], object]] = {
        "emptied": lambda: wait_for(tab.on_empty(request())),
        "left": lambda: visits.forget("page"),
        "another": lambda: (wait_for(chosen(request())), list(another("a child", request()))),
    }
    during_a_prediction(estimator, monkeypatch, ways[way])
    answer = last(send(tab, file, "a child", request()))
    assert answer == {tab.message: gr.skip()}
    visit = visits.get("page")
    assert (visit is not None) == (way == "another")
    assert visit is None or visit.photo.shape == examples.available()[0][1].shape


def test_a_second_upload_is_not_dropped(tab: PhotoTab) -> None:
    assert Context.root_block is not None
    modes = {
        event: each.trigger_mode for each in Context.root_block.fns.values() for _, event in each.targets
    }
    assert modes["upload"] == "multiple"
    then = next(each for each in Context.root_block.fns.values() if each.name == "on_photo")
    assert then.trigger_mode == "multiple"


def test_a_second_choice_is_not_dropped(tab: PhotoTab) -> None:
    assert Context.root_block is not None
    modes = {each.name: each.trigger_mode for each in Context.root_block.fns.values()}
    assert modes["on_pick"] == modes["on_click"] == modes["on_example"] == "multiple"


def test_a_late_choice_does_not_override_a_newer_one(
    tab: PhotoTab, file: Path, estimator: FakeEstimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    last(send(tab, file, "a child", request()))
    newer: list[dict[Any, Any]] = []
    compare = estimator.comparer

    def comparer(prompts: Sequence[str]) -> Callable[[FacePrediction], dict[str, float]]:
        """While the first choice is answered, the visitor makes another one."""
        monkeypatch.setattr(estimator, "comparer", compare)
        newer.append(tab.on_pick(1, "a child", request()))
        return compare(prompts)

    monkeypatch.setattr(estimator, "comparer", comparer)
    click = gr.SelectData(None, {"index": [150, 100], "value": None})
    assert tab.on_click("a child", request(), click) == {tab.message: gr.skip()}
    assert newer[0][tab.picker].value == 1


def test_a_photo_leaves_the_disk_before_its_turn_and_is_shown_meanwhile(
    tab: PhotoTab, file: Path, estimator: FakeEstimator
) -> None:
    content = file.read_bytes()
    answer = wait_for(tab.on_arrived(file_payload(file), request()))
    assert not file.parent.exists()
    assert base64.b64decode(answer[tab.photo]["url"].partition(",")[2]) == content
    assert estimator.photos == []


@pytest.mark.parametrize("way", ["emptied", "left"])
def test_a_waiting_photo_that_was_taken_away_is_not_looked_at(
    tab: PhotoTab, file: Path, visits: Visits, estimator: FakeEstimator, way: str
) -> None:
    answers = send(tab, file, "a child", request())
    if way == "emptied":
        wait_for(tab.on_empty(request()))
    else:
        visits.forget("page")
    assert list(answers) == [{tab.message: gr.skip()}]
    assert estimator.photos == []


def test_of_two_photos_that_wait_the_newer_one_is_looked_at_once(
    tab: PhotoTab, file: Path, tmp_path: Path, photo: np.ndarray, estimator: FakeEstimator
) -> None:
    newer = tmp_path / "newer.png"
    Image.fromarray(photo[::2]).save(newer)
    turns = [send(tab, each, "a child", request()) for each in (file, newer)]
    first, second = (list(turn) for turn in turns)
    assert "Face 1 of 2" in first[-1][tab.age]
    assert second == [{tab.message: gr.skip()}]
    assert [each.shape for each in estimator.photos] == [photo[::2].shape]
    assert not newer.exists()


def test_a_photo_that_had_to_make_room_is_said_to_be_forgotten(
    file: Path, tmp_path: Path, photo: np.ndarray, estimator: FakeEstimator
) -> None:
    other = tmp_path / "other.png"
    Image.fromarray(photo).save(other)
    host = ModelHost(lambda: estimator)
    host.start()
    with blocks():
        tab = PhotoTab(host, Visits(max_bytes=1))
    answers = send(tab, file, "a child", request())
    newest = send(tab, other, "a child", request("another"))
    assert texts.FORGOTTEN in last(answers)[tab.message]
    assert "Face 1 of 2" in last(newest)[tab.age]


def test_emptying_and_arrival_do_not_stand_in_line(tab: PhotoTab) -> None:
    assert Context.root_block is not None
    queued = {each.name: each.queue for each in Context.root_block.fns.values()}
    assert not queued["on_arrived"]
    assert not queued["on_empty"]
    assert queued["on_photo"]


def test_a_photo_that_the_full_line_refuses_leaves_nothing_behind(
    tab: PhotoTab, file: Path, tmp_path: Path, photo: np.ndarray, visits: Visits
) -> None:
    """Neither its bytes, nor beside its preview the result of the photo before."""
    other = tmp_path / "other.png"
    Image.fromarray(photo).save(other)
    last(send(tab, file, "a child", request()))
    wait_for(tab.on_arrived(file_payload(other), request()))  # and `on_photo` is refused
    answer = tab.on_refused(request())
    assert texts.REFUSED in answer[tab.message]
    assert answer[tab.photo] is None
    assert not answer[tab.results].visible
    assert not visits.has_begun("page")
    assert len(visits) == 0
    assert texts.FORGOTTEN in tab.on_pick(0, "a child", request())[tab.message]  # no longer silent


def test_a_refusal_does_not_override_what_came_of_the_photo(tab: PhotoTab, file: Path) -> None:
    """A call that was in line already has answered it."""
    answers = send(tab, file, "a child", request())
    assert "Face 1 of 2" in last(answers)[tab.age]
    assert tab.on_refused(request()) == {tab.message: gr.skip()}
    assert "Face 2 of 2" in tab.on_pick(1, "a child", request())[tab.age]


def test_a_refused_photo_is_heard_of_where_the_line_is_full(tab: PhotoTab) -> None:
    assert Context.root_block is not None
    events = list(Context.root_block.fns.values())
    refused = [each for each in events if str(each.name).endswith("_refused")]
    waiting = {each._id for each in events if each.name in ("on_photo", "on_example")}
    assert {each.trigger_after for each in refused} == waiting
    for each in refused:
        assert each.trigger_only_on_failure
        assert not each.queue
        assert each.trigger_mode == "multiple"


def test_an_example_does_not_overtake_the_photo_that_is_chosen_after_it(tab: PhotoTab, file: Path) -> None:
    (chosen, refused), example = tab._example_steps(0), tab._example_handler(0)
    wait_for(chosen(request()))
    answers = send(tab, file, "a child", request())
    assert list(example("a child", request())) == [{tab.message: gr.skip()}]
    assert refused(request()) == {tab.message: gr.skip()}
    assert "Face 1 of 2" in last(answers)[tab.age]


def test_the_examples_are_predicted_when_the_model_is_ready_and_not_again_at_a_click() -> None:
    estimator, done = FakeEstimator([make_face(77.0)]), threading.Event()
    host = ModelHost(lambda: estimator)
    with blocks():
        tab = PhotoTab(host, Visits())
    host.when_ready(lambda _: done.set())
    host.start()
    assert done.wait(60)
    assert len(estimator.photos) == 2
    (chosen, _), example = tab._example_steps(0), tab._example_handler(0)
    wait_for(chosen(request()))
    assert "77" in last(example("a child", request()))[tab.age]
    assert len(estimator.photos) == 2


def test_the_whole_picture_of_another_photo_is_not_taken(tab: PhotoTab, file: Path, visits: Visits) -> None:
    last(send(tab, file, "a child", request()))
    assert list(tab.on_whole("a child", request())) == [{tab.message: gr.skip()}]  # it has faces
    visits.begin("page")
    assert list(tab.on_whole("a child", request())) == [{tab.message: gr.skip()}]


def test_a_photo_that_comes_before_the_model_waits_for_it(file: Path) -> None:
    gate = threading.Event()

    def load() -> FakeEstimator:
        gate.wait()
        return FakeEstimator([make_face()])

    host = ModelHost(load)
    host.start()
    with blocks():
        tab = PhotoTab(host, Visits())
    answers = send(tab, file, "a child", request())
    assert texts.MODEL_FIRST in next(answers)[tab.message]
    gate.set()
    assert "40" in next(answers)[tab.age]


def test_a_missing_model_is_said_at_every_photo(file: Path) -> None:
    def load() -> FakeEstimator:
        raise WeightsError("the folder 'x' is empty")

    host = ModelHost(load)
    host.start()
    with blocks():
        tab = PhotoTab(host, Visits())
    assert "is empty" in last(send(tab, file, "a child", request()))[tab.message]
