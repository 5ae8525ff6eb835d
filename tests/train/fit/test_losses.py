"""Losses (METHOD 6, 7, 14)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from cilf.model.cilf import PartEstimate, Prediction
from cilf.model.head import AgeEstimate, AgeHead
from train.fit.losses.cilf import (
    AttributePairs,
    LossConfig,
    Texts,
    attribute_loss,
    contrastive,
    label_distribution,
    symmetric_divergence,
    total_loss,
)


@given(st.lists(st.floats(0, 116), min_size=1, max_size=5), st.floats(0.5, 5))
def test_label_distribution(ages: list[float], sigma: float) -> None:
    found = label_distribution(torch.tensor(ages), sigma, 101)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(len(ages)))
    assert (found.argmax(dim=1) - torch.tensor(ages).clamp(max=100)).abs().max() <= 0.5 + 1e-4


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_a_label_distribution_is_as_wide_as_is_asked(sigma: float) -> None:
    [found] = label_distribution(torch.tensor([40.0]), sigma, 101)
    assert (found[40] / found[41]).log().item() == pytest.approx(1 / (2 * sigma**2), rel=1e-4)


def test_no_similarity_costs_ln_b() -> None:
    """B distinct ages, all cosines equal."""
    image = F.normalize(torch.ones(6, 4), dim=-1)
    loss = contrastive(image, Texts(image, torch.tensor(10.0), torch.eye(6)))
    assert loss.item() == pytest.approx(math.log(6), abs=1e-5)


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_what_matches_several_has_a_share_of_each(factor: float) -> None:
    """Rows of Q sum to 1, and in the other direction its columns, whatever the matches sum to."""
    generator = torch.Generator().manual_seed(0)
    image, text = (F.normalize(torch.randn(3, 4, generator=generator), dim=-1) for _ in range(2))
    matches = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 1.0]])
    both = ((10 * image @ text.T, matches), (10 * text @ image.T, matches.T))
    each = [
        -(q / q.sum(dim=1, keepdim=True) * similarity.log_softmax(dim=1)).sum(dim=1).mean()
        for similarity, q in both
    ]
    found = contrastive(image, Texts(text, torch.tensor(10.0), factor * matches))
    torch.testing.assert_close(found, (each[0] + each[1]) / 2)


def test_wrong_pairs_cost_more() -> None:
    torch.manual_seed(0)
    image = F.normalize(torch.randn(6, 8), dim=-1)
    right = contrastive(image, Texts(image, torch.tensor(10.0), torch.eye(6)))
    wrong = contrastive(image, Texts(image.roll(1, dims=0), torch.tensor(10.0), torch.eye(6)))
    assert wrong > right


def test_faces_of_one_age_do_not_push_each_other_away() -> None:
    """Two equal embeddings between two texts that are true of both are at the least loss: the gradient is nil. Were
    each text one face's alone, they would be driven apart."""
    text = torch.eye(2, 4)

    def pull(matches: torch.Tensor) -> torch.Tensor:
        image = F.normalize(text.sum(dim=0), dim=0).repeat(2, 1).requires_grad_()
        contrastive(image, Texts(text, torch.tensor(10.0), matches)).backward()
        assert image.grad is not None
        return image.grad

    assert pull(torch.ones(2, 2)).abs().max() < 1e-6
    assert pull(torch.eye(2)).abs().max() > 1


def test_a_text_without_a_match_is_left_out() -> None:
    image = F.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    matches = torch.eye(3)
    matches[2] = 0
    surprise = -(10 * image @ image.T).log_softmax(dim=1).diagonal()[:2].mean()  # the same in both directions
    found = contrastive(image, Texts(image, torch.tensor(10.0), matches))
    torch.testing.assert_close(found, surprise)


def test_all_terms_of_the_loss_are_those_of_the_method() -> None:
    """Two photos and a second view of the first; two ages; every weight another number."""
    torch.manual_seed(0)
    unit = F.normalize(torch.randn(9, 4), dim=-1)
    head = AgeHead(2)

    def part(first: int) -> PartEstimate:
        return PartEstimate(unit[first : first + 3], head.summarise(torch.randn(3, 2)))

    tower, shares = part(0), part(3)
    estimate, scores = head.summarise(torch.randn(3, 2)), torch.randn(3, 2, 2, 2)
    grid = torch.zeros(3, 4, 2, 2)
    prediction = Prediction(unit[6:], torch.zeros(3, 2, 4), estimate, tower, shares, grid, scores)
    age, target = torch.tensor([0.0, 1.0]), torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    pairs = AttributePairs(
        unit[:1], unit[1:2], torch.tensor([[1.0], [0.0]]), torch.ones(2, 1, dtype=torch.bool)
    )
    texts = Texts(unit[:2], torch.tensor(5.0), torch.eye(2), pairs=pairs)
    config = LossConfig(
        distribution=2.0,
        l1=3.0,
        contrastive=5.0,
        attributes=7.0,
        score_map=11.0,
        parts=13.0,
        consistency=17.0,
    )
    found = total_loss(prediction, age, target, texts, config)

    ages, targets = torch.cat([age, age[:1]]), torch.cat([target, target[:1]])

    def of_age(estimate: AgeEstimate) -> torch.Tensor:
        divergence = (targets * (targets.log() - estimate.logits.log_softmax(dim=1))).sum(dim=1).mean()
        return 2 * divergence + 3 * (estimate.age - ages).abs().mean() / 10

    def of_texts(embedding: torch.Tensor) -> torch.Tensor:
        scale = torch.tensor(5.0)
        return 5 * contrastive(embedding[:2], texts) + 7 * attribute_loss(embedding[:2], pairs, scale)

    torch.testing.assert_close(found["distribution"] + found["l1"], of_age(estimate))
    torch.testing.assert_close(found["contrastive"] + found["attributes"], of_texts(unit[6:]))
    for name, each in (("tower", tower), ("shares", shares)):
        torch.testing.assert_close(found[name], 13 * (of_age(each.estimate) + of_texts(each.embedding)))
    of_cells = (scores[:2].mean(dim=(2, 3)) / config.score_map_temperature).log_softmax(dim=1)
    torch.testing.assert_close(found["score_map"], 11 * -(target * of_cells).sum(dim=1).mean())
    logits = estimate.logits
    apart = symmetric_divergence(logits[:1], logits[2:], config.consistency_temperature)
    torch.testing.assert_close(found["consistency"], 17 * apart)
    torch.testing.assert_close(found["loss"], sum(value for name, value in found.items() if name != "loss"))


def test_a_pair_of_which_nothing_is_known_counts_neither_way() -> None:
    """Whatever the cosine of such a pair, the loss stays; as a wrong pair it would not."""
    image = F.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    unknown = torch.zeros(4, 4, dtype=torch.bool)
    unknown[0, 1] = unknown[1, 0] = True
    closer = image.clone()
    closer[1] = F.normalize(image[1] + image[0], dim=-1)

    def loss(text: torch.Tensor, unknown: torch.Tensor | None) -> float:
        # Text 1 is matched with nothing, so that only its part as a wrong text is seen.
        matches = torch.diag(torch.tensor([1.0, 0, 1, 1]))
        known = None if unknown is None else unknown[:1]
        return float(contrastive(image[:1], Texts(text, torch.tensor(10.0), matches[:1], known)))

    assert loss(image, unknown) == pytest.approx(loss(closer, unknown), abs=1e-6)
    assert loss(image, None) != pytest.approx(loss(closer, None), abs=1e-3)


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 4))
def test_a_divergence_is_nil_for_equal_views_and_else_positive(seed: int, temperature: float) -> None:
    first, second = torch.randn(2, 3, 101, generator=torch.Generator().manual_seed(seed))
    assert symmetric_divergence(first, first, temperature) == 0
    assert symmetric_divergence(first, second, temperature) > 0
    assert symmetric_divergence(first, second, temperature) == pytest.approx(
        symmetric_divergence(second, first, temperature).item(), rel=1e-5
    )


def attribute_pairs(truth: list[list[float]], measured: list[list[bool]]) -> AttributePairs:
    """Two attributes, whose texts lie along the first and the second axis."""
    axes = torch.eye(2, 4)
    return AttributePairs(axes, -axes, torch.tensor(truth), torch.tensor(measured))


def test_an_attribute_costs_ln_2_where_neither_text_fits_better() -> None:
    image = torch.eye(4)[2:].repeat_interleave(4, dim=0)
    pairs = attribute_pairs([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 4, [[True, True]] * 8)
    assert attribute_loss(image, pairs, torch.tensor(10.0)).item() == pytest.approx(math.log(2), abs=1e-6)


def test_images_are_drawn_to_the_text_that_is_true_of_them() -> None:
    image = F.normalize(torch.ones(8, 4), dim=-1).requires_grad_()
    pairs = attribute_pairs([[1.0, 0.0]] * 4 + [[0.0, 0.0]] * 4, [[True, False]] * 8)
    attribute_loss(image, pairs, torch.tensor(10.0)).backward()
    assert image.grad is not None
    assert (image.grad[:4, 0] < 0).all()
    assert (image.grad[4:, 0] > 0).all()
    assert (image.grad[:, 1] == 0).all()  # what was not measured counts neither way
