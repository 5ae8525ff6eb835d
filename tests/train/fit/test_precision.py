"""Which arithmetic a run computes in."""

import logging

import pytest
import torch

from train.fit import distributed as processes
from train.fit import precision
from train.fit.distributed import start_processes
from train.fit.precision import autocast, has_bfloat16

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("wanted", "there", "taken"),
    [("bf16", True, "bf16"), ("bf16", False, "no"), ("fp32", True, "no"), ("fp32", False, "no")],
)
def test_bfloat16_is_taken_only_where_it_is_wanted_and_there(
    wanted: str, there: bool, taken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(processes, "has_bfloat16", lambda device: there)
    with caplog.at_level(logging.INFO):
        assert start_processes(wanted, parts=1).mixed_precision == taken
    assert ("no instructions for bfloat16" in caplog.text) == (wanted == "bf16" and not there)


@pytest.mark.parametrize(("there", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_block_computes_in_bfloat16_only_where_it_is_there(
    there: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: there)
    with autocast(CPU):
        assert torch.nn.functional.linear(torch.ones(1, 2), torch.ones(3, 2)).dtype == dtype


def test_accelerators_are_taken_to_have_it() -> None:
    assert has_bfloat16(torch.device("cuda"))
    assert isinstance(has_bfloat16(CPU), bool)
