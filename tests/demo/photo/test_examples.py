"""The example portraits."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cilf.demo.photo.tab import examples
from cilf.prediction import FacePrediction
from tests.stand_in import FakeEstimator, make_face


def test_both_portraits_are_there() -> None:
    portraits = examples.available()
    assert [example.key for example, _ in portraits] == ["hopper", "collins"]
    assert all(portrait.ndim == 3 and portrait.dtype == np.uint8 for _, portrait in portraits)


def test_a_missing_portrait_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> np.ndarray:
        raise FileNotFoundError

    monkeypatch.setattr(
        examples, "EXAMPLES", (replace(examples.EXAMPLES[0], load=missing), examples.EXAMPLES[1])
    )
    assert [example.key for example, _ in examples.available()] == ["collins"]


def test_the_faces_of_each_example_are_predicted_once_for_each_model() -> None:
    predicted, first, second = examples.PredictedExamples(), FakeEstimator([make_face(40.0)]), FakeEstimator()
    predicted.predict(first)
    assert [predicted.faces(number, first)[0].age for number in (0, 1, 0)] == [40.0, 40.0, 40.0]
    assert len(first.photos) == 2
    assert predicted.faces(1, second) == ()
    assert predicted.faces(1, first)[0].age == 40.0
    assert len(first.photos) == 3


def test_who_comes_while_an_example_is_predicted_waits_for_that() -> None:
    begun, gate = threading.Event(), threading.Event()

    class Slow(FakeEstimator):
        def predict(self, photo: np.ndarray, *arguments: Any, **options: Any) -> list[FacePrediction]:
            begun.set()
            gate.wait()
            return super().predict(photo, *arguments, **options)

    predicted, estimator = examples.PredictedExamples(), Slow([make_face()])
    with ThreadPoolExecutor() as threads:
        answers = [threads.submit(predicted.faces, 0, estimator) for _ in range(2)]
        begun.wait()
        gate.set()
        assert answers[0].result() is answers[1].result()
    assert len(estimator.photos) == 1
