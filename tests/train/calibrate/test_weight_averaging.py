"""The mean of two sets of weights."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import tiny
from train.calibrate.weight_averaging import is_new, mean_of, mean_weights


@given(st.floats(0, 1))
def test_weights_lie_between_both_ends(share: float) -> None:
    end = {"weight": torch.tensor([1.0, -2.0]), "count": torch.tensor(7)}
    start = {"weight": torch.tensor([3.0, 2.0]), "count": torch.tensor(3)}
    found = mean_weights(end, start, share)
    expected = share * start["weight"] + (1 - share) * end["weight"]
    torch.testing.assert_close(found["weight"], expected)
    assert int(found["count"]) == 7


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


def test_the_mean_of_several_networks() -> None:
    models = [tiny.model() for _ in range(3)]
    for number, model in enumerate(models):
        for value in model.state_dict().values():
            value.copy_(torch.full_like(value, 3 * number))
    mean = mean_of(models)
    assert mean is models[0]
    for value in mean.state_dict().values():
        assert bool((value == (3 if value.is_floating_point() else 0)).all())
