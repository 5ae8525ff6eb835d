"""From texts alone the text tower learns which words say the same, and keeps what it says of ages."""

import copy
import random
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from cilf.model.cilf import build_model
from tests import tiny
from tests.train.made_up import RECIPE
from train.data.attributes import ATTRIBUTES, COLUMN
from train.data.captions import Caption, sentence_of
from train.fit import text_pretraining
from train.fit.text_pretraining import (
    LENGTH,
    TEXT_PARTS,
    TOWER_PARTS,
    OwnPlaces,
    TextPlaces,
    _begin_with_word_vectors,
    random_captions,
    teach_sentences,
    teach_words,
)

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


@pytest.mark.slow
def test_plain_texts_name_no_attribute() -> None:
    """Where the photos' captions will name none, neither do the texts before."""
    named, plain = (random_captions(200, random.Random(0), choice) for choice in (True, False))
    assert any(each.literals for each in named)
    assert not any(each.literals for each in plain)


def test_words_that_mean_the_same_begin_together(monkeypatch: pytest.MonkeyPatch, places: TextPlaces) -> None:
    monkeypatch.setattr(text_pretraining, "CAPTIONS", 96)
    monkeypatch.setattr(text_pretraining, "BAG_STEPS", 100)
    torch.manual_seed(0)
    towers = build_model(WIDE).towers
    rows = towers.clip.token_embedding.weight
    _begin_with_word_vectors(rows, towers, places, seed=0, named=True)
    smiling, laughing, serious = (
        F.normalize(rows[towers.tokenize([word])[0, 1]], dim=0) for word in ("smiling", "laughing", "serious")
    )
    assert smiling @ laughing > smiling @ serious + 0.3


@pytest.mark.slow
def test_it_learns_anew_what_the_old_tower_says_of_ages_and_leaves_images_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text_pretraining, "CAPTIONS", 16)
    monkeypatch.setattr(text_pretraining, "BAG_STEPS", 1)
    monkeypatch.setattr(text_pretraining, "AGES_EVERY", 1)
    torch.manual_seed(0)
    model = build_model(WIDE)
    before, old = copy.deepcopy(model.state_dict()), model.encode_ages().detach()
    teach_words(model, replace(RECIPE, model=WIDE, fit=replace(RECIPE.fit, text_steps=40)))
    assert (model.encode_ages() * old).sum(dim=1).min() > 0.8
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(TEXT_PARTS) for name in changed)


def test_a_sentence_lies_where_the_tower_has_captions_that_say_the_same() -> None:
    towers = build_model(WIDE).towers
    captions = text_pretraining._half_in_sentences(40, random.Random(0))
    spoken = [bool(each.draft and sentence_of(each.draft)[0]) for each in captions]
    assert sum(spoken) == 20
    own = OwnPlaces(towers)
    embeddings = towers.encode_text([each.text for each in captions])
    same = (own(captions, random.Random(0)) * embeddings).sum(dim=1) > 1 - 1e-5
    assert same.tolist() == [not each for each in spoken]


@pytest.mark.slow
def test_sentences_are_learned_while_ages_and_images_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_pretraining, "CAPTIONS", 32)
    monkeypatch.setattr(text_pretraining, "AGES_EVERY", 1)
    torch.manual_seed(0)
    model = build_model(WIDE)
    before, old = copy.deepcopy(model.state_dict()), model.encode_ages().detach()
    captions = text_pretraining._half_in_sentences(32, random.Random("0/sentences/0"))
    places = OwnPlaces(model.towers)(captions, random.Random(0))

    def nearness() -> float:
        with torch.no_grad():
            return float(
                (model.towers.encode_text([each.text for each in captions]) * places).sum(dim=1).mean()
            )

    first = nearness()
    teach_sentences(model, replace(RECIPE, model=WIDE, fit=replace(RECIPE.fit, sentence_steps=40)))
    assert nearness() > first
    assert (model.encode_ages() * old).sum(dim=1).min() > 0.9
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith(TOWER_PARTS) for name in changed)
