"""Captions: true of their face, and made of nothing but the vocabulary that the text tower keeps."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilf.model.clip import WORD
from train.data.captions import Caption, agreement, caption, number_words
from train.data.datasets import Sample
from train.fit.recipe import read_recipe

WORDS = set(read_recipe("compact").model.clip.words or ())


def sample(age: float, gender: str | None = None, race: str | None = None) -> Sample:
    return Sample(Path("x.jpg"), "x.jpg", age, gender, race, "utkface")


@given(
    age=st.integers(0, 1160).map(lambda tenths: tenths / 10),
    gender=st.sampled_from(["male", "female", None]),
    race=st.sampled_from(["white", "black", "asian", "indian", "other", None]),
    seed=st.integers(0, 10_000),
)
def test_a_caption_is_true_and_known(age: float, gender: str | None, race: str | None, seed: int) -> None:
    face = sample(age, gender, race)
    found = caption(face, random.Random(seed))
    assert agreement([face], [found], sigma=1.5).item() == pytest.approx(1.0)
    assert set(WORD.findall(found.text.lower())) <= WORDS


def test_agreement_is_that_of_the_words() -> None:
    faces = [sample(30, "male", "white"), sample(33, "female", "white"), sample(70, "male", "black")]
    captions = [
        Caption("a man aged 30", age=30, gender="male"),
        Caption("a person in their thirties", ages=(30, 39)),
        Caption("a black person", race="black"),
        Caption("a face"),
    ]
    found = agreement(faces, captions, sigma=1.5)
    assert found[:, 0].tolist() == pytest.approx([1, 0, 0], abs=1e-6)
    assert found[:, 1].tolist() == [1, 1, 0]
    assert found[:, 2].tolist() == [0, 0, 1]
    assert found[:, 3].tolist() == [1, 1, 1]


@pytest.mark.parametrize(("age", "true"), [(29.0, 1), (29.9, 1), (30.0, 0)])
def test_a_decade_ends_where_the_next_begins(age: float, true: float) -> None:
    twenties = Caption("a person in their twenties", ages=(20, 29))
    assert agreement([sample(age)], [twenties], sigma=1.5).item() == true


@pytest.mark.parametrize(
    ("age", "words"), [(0, "zero"), (17, "seventeen"), (34, "thirty four"), (100, "one hundred"), (116, None)]
)
def test_number_words(age: int, words: str | None) -> None:
    assert number_words(age) == (words or "one hundred and sixteen")
