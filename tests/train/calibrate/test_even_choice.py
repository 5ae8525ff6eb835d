"""Choices in which every band of ages has a say."""

import numpy as np
import pytest

from train.calibrate.even_choice import best_for_all_ages, even_error


def test_every_band_of_ages_weighs_the_same() -> None:
    truth = np.array([5.0, 30.0, 30.0, 30.0, 70.0])
    age = np.array([6.0, 34.0, 34.0, 34.0, 63.0])
    assert even_error(age, truth) == pytest.approx((1 + 4 + 7) / 3)


@pytest.mark.parametrize(
    ("evenly", "best"),
    [
        ((4.0, 4.5, 4.6), 0.0),
        ((4.5, 4.0, 4.0), 0.25),
        ((4.01, 4.01, 4.0), 0.0),
        ((4.05, 4.01, 4.0), 0.25),
        ((4.5, 4.5, 4.0), 0.5),
    ],
)
def test_of_candidates_that_serve_all_ages_alike_that_with_the_smallest_error_is_taken(
    evenly: tuple[float, ...], best: float
) -> None:
    errors = dict(zip((0.0, 0.25, 0.5), zip((4.4, 4.5, 4.6), evenly, strict=True), strict=True))
    assert best_for_all_ages(errors) == best
