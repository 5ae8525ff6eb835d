"""The mean of two sets of weights."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from train.calibrate.weight_averaging import chosen, even_error, is_new, mean_weights


@given(st.floats(0, 1))
def test_weights_lie_between_both_ends(share: float) -> None:
    end = {"weight": torch.tensor([1.0, -2.0]), "count": torch.tensor(7)}
    start = {"weight": torch.tensor([3.0, 2.0]), "count": torch.tensor(3)}
    found = mean_weights(end, start, share)
    expected = share * start["weight"] + (1 - share) * end["weight"]
    torch.testing.assert_close(found["weight"], expected)
    assert int(found["count"]) == 7


def test_every_band_of_ages_weighs_the_same() -> None:
    truth = np.array([5.0, 30.0, 30.0, 30.0, 70.0])
    age = np.array([6.0, 34.0, 34.0, 34.0, 63.0])
    assert even_error(age, truth) == pytest.approx((1 + 4 + 7) / 3)


@pytest.mark.parametrize(
    ("evenly", "share"),
    [
        ((4.0, 4.5, 4.6), 0.0),
        ((4.5, 4.0, 4.0), 0.25),
        ((4.01, 4.01, 4.0), 0.0),
        ((4.05, 4.01, 4.0), 0.25),
        ((4.5, 4.5, 4.0), 0.5),
    ],
)
def test_of_shares_that_serve_all_ages_alike_that_with_the_smallest_error_is_taken(
    evenly: tuple[float, ...], share: float
) -> None:
    errors = dict(zip((0.0, 0.25, 0.5), zip((4.4, 4.5, 4.6), evenly, strict=True), strict=True))
    assert chosen(errors) == share


def test_what_the_start_has_not_is_the_end_s() -> None:
    end = {"new": torch.tensor([1.0]), "old": torch.tensor([1.0])}
    mean = mean_weights(end, {"old": torch.tensor([3.0])}, 0.5)
    assert {name: float(value) for name, value in mean.items()} == {"new": 1.0, "old": 2.0}


def test_a_new_text_tower_is_the_end_s() -> None:
    assert is_new("towers.clip.token_embedding.weight")
    assert is_new("towers.style.means.weight")
    assert not is_new("towers.clip.visual.head.proj.weight")


def test_no_share_of_the_start_is_the_end() -> None:
    end = {"weight": torch.randn(5)}
    assert torch.equal(mean_weights(end, {"weight": torch.randn(5)}, 0.0)["weight"], end["weight"])
