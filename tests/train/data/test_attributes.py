"""The joint table of attributes: mirrored with the picture, silent about what is covered."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from train.data.attributes import ATTRIBUTES, COLUMN, COVERABLE, MESH, PIXEL, Rule, visible


@st.composite
def tables(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    count = draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    pixel, mesh = (
        torch.randint(-1, 2, (count, len(names)), generator=generator).to(torch.int8)
        for names in (PIXEL, MESH)
    )
    return pixel, mesh


@given(tables())
def test_a_flip_exchanges_left_and_right_of_the_head_alone(table: tuple[Tensor, Tensor]) -> None:
    pixel, mesh = table
    everyone = torch.ones(len(pixel), dtype=torch.bool)
    plain, flipped = visible(pixel, mesh, ~everyone), visible(pixel, mesh, everyone)
    assert torch.equal(plain, torch.cat([pixel, mesh], dim=1))
    left, right = COLUMN["turned_left"], COLUMN["turned_right"]
    assert torch.equal(flipped[:, [left, right]], plain[:, [right, left]])
    others = [column for column in range(len(ATTRIBUTES)) if column not in (left, right)]
    assert torch.equal(flipped[:, others], plain[:, others])


@given(tables())
def test_a_covered_face_says_nothing_of_expression_and_keeps_the_rest(table: tuple[Tensor, Tensor]) -> None:
    pixel, mesh = table
    everyone = torch.ones(len(pixel), dtype=torch.bool)
    covered = visible(pixel, mesh, ~everyone, everyone)
    coverable = [COLUMN[name] for name in COVERABLE]
    assert not covered[:, coverable].any()
    others = [column for column in range(len(ATTRIBUTES)) if column not in coverable]
    assert torch.equal(covered[:, others], torch.cat([pixel, mesh], dim=1)[:, others])


def test_a_rule_says_nothing_between_its_thresholds_and_of_no_number() -> None:
    values = torch.tensor([0.1, 0.5, 0.9, float("nan")])
    assert Rule("x", 0.8, 0.2).decide(values).tolist() == [-1, 0, 1, 0]
    assert Rule("x", 0.2, 0.8).decide(values).tolist() == [1, 0, -1, 0]
