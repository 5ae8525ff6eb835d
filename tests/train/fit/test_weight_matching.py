"""Weights of another network are refused with one sentence, wherever they come in."""

import re
from pathlib import Path

import pytest
import torch

from cilf.errors import UsageError
from tests import tiny
from tests.train.made_up import RECIPE, subset
from train.calibrate.weight_averaging import blend
from train.fit.loop import averaged_model
from train.fit.objective import build_system
from train.fit.weight_matching import check_weights

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


def test_a_start_of_another_system() -> None:
    with pytest.raises(UsageError, match=r"The checkpoint to start from is of another network.*--recipe"):
        build_system(RECIPE, OTHER)
    with pytest.raises(UsageError, match=r"The checkpoint to mix in is of another network.*--start"):
        blend(tiny.model(), OTHER, subset(4), mirror=True)
