"""From texts alone the text tower learns which words say the same, and keeps what it says of ages."""

import random
from dataclasses import replace

import pytest
import torch

from cilf.model.cilf import build_model
from tests import tiny
from tests.train.made_up import RECIPE
from train.data.attributes import ATTRIBUTES, COLUMN
from train.data.captions import Caption
from train.fit import text_pretraining
from train.fit.text_pretraining import LENGTH, TextPlaces, random_captions, teach_words

# The tiny model in a space with room for all attributes.
TEXT = tiny.CLIP.architecture["text_cfg"] | {"width": 64, "heads": 2, "layers": 2}
WIDE = replace(
    tiny.MODEL,
    clip=replace(tiny.CLIP, architecture={**tiny.CLIP.architecture, "embed_dim": 96, "text_cfg": TEXT}),
)


@pytest.fixture(scope="module")
def places() -> TextPlaces:
    return TextPlaces(build_model(WIDE).towers)


def test_attributes_have_directions_of_their_own(places: TextPlaces) -> None:
    torch.testing.assert_close(
        places.directions @ places.directions.T, torch.eye(len(ATTRIBUTES)), atol=1e-5, rtol=0
    )
    plain = torch.cat([places.plain(gender, None) for gender in (None, "male", "female")])
    assert (plain @ places.directions.T).abs().max() < 0.1


def test_texts_that_say_the_same_have_one_place(places: TextPlaces) -> None:
    smiling = ((COLUMN["smiling"], 1),)
    first, again, not_smiling, silent = places(
        [
            Caption("a smiling man of 30", age=30, gender="male", literals=smiling),
            Caption("a man, thirty, who smiles", age=30, gender="male", literals=smiling),
            Caption("a serious man of 30", age=30, gender="male", literals=((COLUMN["smiling"], -1),)),
            Caption("a man of 30", age=30, gender="male"),
        ]
    )
    torch.testing.assert_close(first, again)
    torch.testing.assert_close(silent, places.plain("male", None)[30])
    difference = first - not_smiling
    along = (difference @ places.directions[COLUMN["smiling"]]).abs()
    assert along == pytest.approx(2 * LENGTH / (1 + LENGTH**2) ** 0.5, abs=0.05)
    assert along > 0.99 * difference.norm()


def test_a_hint_goes_half_the_way_of_a_statement(places: TextPlaces) -> None:
    literals, direction = ((COLUMN["smiling"], -1),), places.directions[COLUMN["smiling"]]
    serious, angry = places(
        [Caption("serious", literals=literals), Caption("angry", literals=literals, sufficient=False)]
    )
    assert 0 > angry @ direction > serious @ direction


def test_captions_can_be_true_of_somebody() -> None:
    captions = random_captions(300, random.Random(0))
    assert len(captions) == 300
    assert all(each.ages is None or each.ages[0] <= each.ages[1] for each in captions)
    assert {column for each in captions for column, _ in each.literals} == set(range(len(ATTRIBUTES)))


def test_it_learns_the_places_and_keeps_the_ages(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a new tower, whose texts and ages lie anywhere, towards both."""
    monkeypatch.setattr(text_pretraining, "CAPTIONS", 48)
    monkeypatch.setattr(text_pretraining, "BAG_STEPS", 30)
    monkeypatch.setattr(text_pretraining, "AGES_EVERY", 2)
    torch.manual_seed(0)
    model = build_model(WIDE)
    places, ages = TextPlaces(model.towers), model.encode_ages().detach()
    captions = random_captions(100, random.Random(1))

    def closeness() -> tuple[float, float]:
        with torch.inference_mode():
            texts = model.towers.encode_text([each.text for each in captions])
            return (
                float((texts * places(captions)).sum(dim=1).mean()),
                float((model.encode_ages() * ages).sum(dim=1).mean()),
            )

    teach_words(model, replace(RECIPE, model=WIDE, fit=replace(RECIPE.fit, text_steps=2)))
    words_at_first, ages_at_first = closeness()
    teach_words(model, replace(RECIPE, model=WIDE, fit=replace(RECIPE.fit, text_steps=160)))
    words, kept = closeness()
    assert words > words_at_first + 0.2
    assert kept > ages_at_first + 0.2
