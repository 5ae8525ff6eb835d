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


def widened_from(start: CILF) -> CILF:
    """The same network with room for a low-pass filter before each stride, and with its weights carried over."""
    torch.manual_seed(1)
    config = replace(tiny.MODEL, clip=replace(tiny.CLIP, anti_aliased=True))
    network = build_model(config).eval()
    carried = carried_over(start.state_dict(), network.state_dict(), tiny.CLIP, config.clip)
    check_weights(carried, network.state_dict(), "It", "do nothing")
    network.load_state_dict(carried)
    return network


def strided(network: CILF) -> list[torch.nn.Conv2d]:
    """Convolutions that leave out pixels."""
    trunk = network.image_network.get_submodule("trunk")
    return [each for each in trunk.modules() if isinstance(each, torch.nn.Conv2d) and each.stride != (1, 1)]


@torch.no_grad()
def test_a_start_without_low_pass_filters() -> None:
    """A wider kernel is the convolution of before on pixels that a binomial filter has smoothed."""
    start = tiny.model()
    pairs = list(zip(strided(start), strided(widened_from(start)), strict=True))
    assert pairs
    line = torch.tensor([0.25, 0.5, 0.25])
    for narrow, wide in pairs:
        x = torch.randn(2, narrow.in_channels, 17, 17)
        low_pass = torch.outer(line, line).expand(narrow.in_channels, 1, 3, 3)
        smooth = torch.nn.functional.conv2d(x, low_pass, padding=1, groups=narrow.in_channels)
        inside = (
            ...,
            slice(2, -2),
            slice(2, -2),
        )  # zeros beyond the edge are smoothed by one of the two alone
        torch.testing.assert_close(wide(x)[inside], narrow(smooth)[inside], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_low_pass_filters_make_a_tower_steadier_under_a_shift() -> None:
    start = tiny.model()
    pixels = torch.rand(8, 3, 64, 65)
    changes = []
    for network in (start, widened_from(start)):
        here, there = (network.towers.encode_image(part)[0] for part in (pixels[..., :64], pixels[..., 1:]))
        changes.append((here - there).norm() / (here - here.mean(dim=0)).norm())
    assert changes[1] < 0.7 * changes[0]
