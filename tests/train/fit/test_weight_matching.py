"""Weights of another network are refused with one sentence, wherever they come in."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from cilf.errors import UsageError
from cilf.inference.error_models import GaussianError
from cilf.model.cilf import CILF, build_model
from tests import tiny
from tests.train.made_up import RECIPE, subset
from train.calibrate.weight_averaging import blend
from train.fit.loop import averaged_model
from train.fit.objective import build_system
from train.fit.weight_matching import POSITIONS, TOKENS, carried_over, check_weights, take_trunk

OTHER = tiny.mtmsa().state_dict()


def test_the_same_network_fits() -> None:
    check_weights(tiny.model().state_dict(), tiny.model().state_dict(), "It", "do nothing")


def test_names_and_sizes_count() -> None:
    network = {"a": torch.zeros(2), "b": torch.zeros(3)}
    for weights in (
        {"a": torch.zeros(2)},
        {**network, "c": torch.zeros(1)},
        {**network, "b": torch.zeros(4)},
    ):
        with pytest.raises(
            UsageError, match=r"It is of another .* 1 of its weights .* first is [bc]; do that\."
        ):
            check_weights(weights, network, "It", "do that")


def test_a_run_of_another_recipe(tmp_path: Path) -> None:
    torch.save({"average": OTHER, "step": 1}, tmp_path / "state.pt")
    said = rf"The run in {re.escape(str(tmp_path))} is of another network.*as --recipe\.$"
    with pytest.raises(UsageError, match=said):
        averaged_model(RECIPE, tmp_path)


@pytest.mark.slow
def test_a_start_of_another_system() -> None:
    with pytest.raises(UsageError, match=r"The checkpoint to start from is of another network.*--recipe"):
        build_system(RECIPE, tiny.checkpoint(tiny.mtmsa(), GaussianError(), tiny.MTMSA_CHECKPOINT))
    with pytest.raises(UsageError, match=r"The checkpoint to mix in is of another network.*--start"):
        blend(tiny.model(), OTHER, [subset(4)], mirror=True)


STARTED = replace(RECIPE, fit=replace(RECIPE.fit, trunk_of_start=True))


def test_the_trunk_alone_is_taken_of_another_system() -> None:
    start = tiny.checkpoint(tiny.lra_gnn(), GaussianError(), tiny.LRA_GNN_CHECKPOINT)
    given = start.model.image_network.get_submodule("trunk").state_dict()
    taken = build_system(STARTED, start).model.image_network.get_submodule("trunk").state_dict()
    assert given
    assert all(torch.equal(taken[name], value) for name, value in given.items())


def test_a_trunk_that_is_wanted_and_not_given_or_another_one() -> None:
    with pytest.raises(
        UsageError, match=r"starts from the trunk of another checkpoint: give one as --start\.$"
    ):
        build_system(STARTED)
    trunk, other = (timm.create_model(name, num_classes=0) for name in ("test_resnet", "test_efficientnet"))
    with pytest.raises(UsageError, match=r"The trunk to start from is of another network"):
        take_trunk(trunk, other)


def knowing(token_ids: tuple[int, ...], places: int, gain: float | None) -> CILF:
    """The tiny model with a text tower of these tokens and so many places."""
    text = tiny.CLIP.architecture["text_cfg"] | {"vocab_size": len(token_ids) + 1, "context_length": places}
    clip = replace(tiny.CLIP, token_ids=token_ids, architecture=tiny.CLIP.architecture | {"text_cfg": text})
    return build_model(replace(tiny.MODEL, clip=clip, fusion=replace(tiny.MODEL.fusion, gain=gain)))


def test_a_start_that_knows_other_words() -> None:
    """Rows of words that both know go along; new words, more places and the gain begin as the recipe's network does."""
    old, new = knowing((267, 320, 518), 24, gain=None), knowing((267, 300, 518, 900), 28, gain=0.3)
    start, fresh = old.state_dict(), new.state_dict()
    carried = carried_over(start, fresh, old.towers.config, new.towers.config)
    check_weights(carried, fresh, "It", "do nothing")
    expected = torch.stack(
        [fresh[TOKENS][0], start[TOKENS][1], fresh[TOKENS][2], start[TOKENS][3], fresh[TOKENS][4]]
    )
    torch.testing.assert_close(carried[TOKENS], expected)
    torch.testing.assert_close(carried[POSITIONS], torch.cat([start[POSITIONS], fresh[POSITIONS][24:]]))
    assert carried["fusion.gain"] is fresh["fusion.gain"]
    assert all(carried[name] is start[name] for name in start if name not in (TOKENS, POSITIONS))
