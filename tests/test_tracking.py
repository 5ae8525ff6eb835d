"""Faces from frame to frame: smoothed ages, quick to follow somebody new, at every frame rate."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cilf.prediction import FacePrediction
from cilf.tracking import GAP_S, FaceTracker, TrackedFace
from tests.stand_in import face as any_face

HERE = (100.0, 80.0, 180.0, 160.0)
THERE = (300.0, 80.0, 380.0, 160.0)

# Each example is played frame by frame. A busy machine is no failure.
patient = settings(deadline=None, max_examples=25)

rates = st.floats(6, 30)
ages = st.floats(5, 90)
seeds = st.integers(0, 2**32 - 1)


def embedding(person: int) -> np.ndarray:
    """A unit vector along one axis per person."""
    return np.eye(16, dtype=np.float32)[person]


def make(age: float, box: tuple[float, float, float, float] = HERE, person: int = 0) -> FacePrediction:
    return replace(
        any_face(0.0), age=age, interval=(age - 10, age + 10), box=box, embedding=embedding(person)
    )


def play(
    tracker: FaceTracker, faces: Iterable[FacePrediction], rate: float, start: float = 0.0
) -> list[TrackedFace]:
    """What is shown of a lone face at every frame, from the first on that shows it."""
    shown = []
    for index, face in enumerate(faces):
        shown += tracker.update([face], start + index / rate)
    return shown


@pytest.mark.slow
@patient
@given(age=ages, noise=st.floats(0.5, 3), rate=rates, seed=seeds)
def test_a_still_face_has_at_most_half_the_raw_deviation(
    age: float, noise: float, rate: float, seed: int
) -> None:
    raw = age + noise * np.random.default_rng(seed).normal(size=round(10 * rate))
    shown = play(FaceTracker(), [make(value) for value in raw], rate)
    settled = round(2 * rate)
    assert np.std([face.age for face in shown[settled:]]) <= 0.5 * np.std(raw[settled:])


@pytest.mark.slow
@patient
@given(before=ages, after=ages, noise=st.floats(0, 2), rate=rates, seed=seeds)
def test_a_new_face_in_the_old_place_is_followed_within_a_second(
    before: float, after: float, noise: float, rate: float, seed: int
) -> None:
    assume(abs(after - before) > 10)
    random = np.random.default_rng(seed)
    tracker = FaceTracker()
    play(tracker, [make(before + noise * random.normal()) for _ in range(round(5 * rate))], rate)
    news = [make(after + noise * random.normal(), person=1) for _ in range(int(rate) + 1)]
    *_, last = play(tracker, news, rate, start=5.0)
    # What the noise of the frames since the change leaves open is no lack of speed.
    assert abs(last.age - before) >= 0.9 * abs(after - before) - 3 * noise / np.sqrt(3)


@patient
@given(before=ages, after=ages, rate=rates)
def test_a_leap_in_age_is_followed_even_where_the_embeddings_agree(
    before: float, after: float, rate: float
) -> None:
    assume(abs(after - before) > 10)
    tracker = FaceTracker()
    play(tracker, [make(before)] * round(5 * rate), rate)
    *_, last = play(tracker, [make(after)] * (int(rate) + 1), rate, start=5.0)
    assert abs(last.age - before) >= 0.9 * abs(after - before)


@patient
@given(age=ages, rate=st.floats(6, 30), seed=seeds)
def test_a_single_odd_frame_changes_nothing(age: float, rate: float, seed: int) -> None:
    frames = [make(age)] * 60
    frames[30] = make((age + 50) % 100, person=int(seed % 2))
    assert all(abs(face.age - age) < 1e-6 for face in play(FaceTracker(), frames, rate))


def drifting(rate: float) -> float:
    """The age that is shown at the end of eight seconds of a slow drift."""
    drift = [make(40 + 2 * np.sin(0.8 * index / rate)) for index in range(round(8 * rate))]
    *_, last = play(FaceTracker(), drift, rate)
    return last.age


@pytest.fixture(scope="module")
def often_seen() -> float:
    return drifting(30)


@pytest.mark.slow
@patient
@given(rate=rates)
def test_the_frame_rate_does_not_change_what_is_shown(often_seen: float, rate: float) -> None:
    """A slow drift of the age, seen more or less often, leads to about the same age."""
    assert abs(drifting(rate) - often_seen) < 0.5


@pytest.mark.slow
@patient
@given(rate=rates, noise=st.floats(0.2, 3), seed=seeds)
def test_a_still_box_trembles_less(rate: float, noise: float, seed: int) -> None:
    tremble = np.random.default_rng(seed).normal(0, noise, (round(6 * rate), 4))
    faces = [make(40, tuple(np.array(HERE) + move)) for move in tremble]
    shown = np.array([face.box for face in play(FaceTracker(), faces, rate)])
    assert shown.std(axis=0).mean() < tremble.std(axis=0).mean()


@patient
@given(rate=rates, speed=st.floats(0.2, 1.0))
def test_a_moving_box_is_kept_up_with(rate: float, speed: float) -> None:
    """At up to a box side per second the smoothed box trails by less than a sixth of a side."""
    side = HERE[2] - HERE[0]
    boxes = [np.array(HERE) + [speed * side * index / rate, 0] * 2 for index in range(round(3 * rate))]
    *_, last = play(FaceTracker(), [make(40, tuple(box)) for box in boxes], rate)
    assert abs(last.box[0] - boxes[-1][0]) < side / 6


@pytest.mark.slow
@patient
@given(rate=rates, seed=seeds)
def test_two_faces_keep_their_numbers_in_any_order(rate: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    tracker = FaceTracker()
    for index in range(40):
        faces = [make(20, HERE), make(60, THERE, person=1)]
        random.shuffle(faces)
        shown = tracker.update(faces, index / rate)
    assert [face.number for face in shown] == [1, 2]
    assert sorted(round(face.age) for face in shown) == [20, 60]
    assert next(face for face in shown if face.box[0] < 200).age == pytest.approx(20)


def test_a_face_is_shown_from_its_second_frame_on() -> None:
    tracker = FaceTracker()
    assert tracker.update([make(30)], 0.0) == []
    [shown] = tracker.update([make(30)], 0.1)
    assert shown.number == 1


def test_a_chance_hit_takes_no_number() -> None:
    tracker = FaceTracker()
    tracker.update([make(30, THERE)], 0.0)
    for index in range(20):
        shown = tracker.update([make(30)], 0.1 * index)
    assert [face.number for face in shown] == [1]


def test_a_short_gap_is_bridged_and_a_long_one_is_not() -> None:
    tracker = FaceTracker()
    play(tracker, [make(30)] * 10, 10)
    assert len(tracker.update([], 0.9 + 0.9 * GAP_S)) == 1
    [back] = tracker.update([make(30)], 1.0 + 0.9 * GAP_S)
    assert back.number == 1
    assert tracker.update([], 3.0) == []
    tracker.update([make(30)], 3.1)
    [new] = tracker.update([make(30)], 3.2)
    assert new.number == 2


def test_a_slow_machine_follows_too() -> None:
    """With a frame every two seconds a face is still one face."""
    shown = play(FaceTracker(), [make(30)] * 5, 0.5)
    assert [face.number for face in shown] == [1] * 4


def test_the_whole_years_do_not_flicker() -> None:
    shown = play(FaceTracker(), [make(30.5 + 0.3 * (-1) ** index) for index in range(100)], 15)
    assert len({face.years for face in shown}) == 1
    assert abs(shown[-1].years - 30.5) <= 1


def test_frames_out_of_order_do_no_harm() -> None:
    tracker = FaceTracker()
    for at in (1.0, 0.5, 1.0, 1.1, 0.2):
        shown = tracker.update([make(30)], at)
    assert shown[0].age == pytest.approx(30)
    assert np.isfinite(shown[0].box).all()


def test_a_box_without_an_area_does_no_harm() -> None:
    tracker = FaceTracker()
    for index in range(5):
        tracker.update([make(30, (5.0, 5.0, 5.0, 5.0)), make(30)], index / 10)
    [shown] = tracker.update([make(30)], 0.6)
    assert shown.box == pytest.approx(HERE)
