"""Captions: true of their face, varied, made of nothing but the vocabulary; opposites are false, the unsaid unknown."""

import random
import re
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cilf.inference.tokenizer import WORD
from train.data.attributes import ATTRIBUTES, COLUMN
from train.data.caption_words import Statement, caption_words
from train.data.captions import (
    Caption,
    agreement,
    attribute_pair,
    caption,
    general_words,
    misspellings,
    number_words,
    opposite,
    sentence_of,
    vocabulary,
    without_sentence,
)
from train.data.datasets import Sample
from train.fit.recipe import read_recipe
from train.studies.texts.words import visitors_prompts

WORDS = set(read_recipe("compact").model.clip.words or ())


def sample(age: float, gender: str | None = None, race: str | None = None) -> Sample:
    return Sample(Path("x.jpg"), "x.jpg", age, gender, race, "utkface")


def row(**values: int) -> np.ndarray:
    """A row of the attribute table that is unclear but for `values`."""
    table = np.zeros(len(ATTRIBUTES), dtype=np.int8)
    for name, value in values.items():
        table[COLUMN[name]] = value
    return table


samples = st.builds(
    sample,
    st.integers(0, 1160).map(lambda tenths: tenths / 10),
    st.sampled_from(["male", "female", None]),
    st.sampled_from(["white", "black", "asian", "indian", "other", None]),
)
rows = st.integers(0, 10_000).map(
    lambda seed: np.random.default_rng(seed).integers(-1, 2, len(ATTRIBUTES)).astype(np.int8)
)
seeds = st.integers(0, 10_000)


@settings(max_examples=150, deadline=None)
@given(face=samples, attributes=rows, seed=seeds)
def test_a_caption_is_true_and_known(face: Sample, attributes: np.ndarray, seed: int) -> None:
    made = caption(face, attributes, random.Random(seed))
    truth, unknown = agreement([face], torch.from_numpy(attributes)[None], [made], sigma=1.5)
    assert truth.item() == pytest.approx(1.0)
    assert not unknown.item()
    assert set(WORD.findall(made.text.lower())) <= WORDS
    assert "{" not in made.text
    assert "  " not in made.text


@settings(max_examples=150, deadline=None)
@given(face=samples, attributes=rows, seed=seeds)
def test_an_opposite_is_false_and_known(face: Sample, attributes: np.ndarray, seed: int) -> None:
    chance = random.Random(seed)
    made = opposite(caption(face, attributes, chance), face, attributes, chance)
    if made is not None:
        truth, unknown = agreement([face], torch.from_numpy(attributes)[None], [made], sigma=1.5)
        assert truth.item() == pytest.approx(0.0, abs=2e-3)
        assert not unknown.item()
        assert set(WORD.findall(made.text.lower())) <= WORDS


@settings(max_examples=200, deadline=None)
@given(seed=seeds)
def test_words_of_possession_turn_with_the_gender(seed: int) -> None:
    chance, face = random.Random(seed), sample(34, "male")
    made = caption(face, None, chance)
    turned = opposite(made, face, None, chance)
    if turned is not None and turned.gender is not None and turned.gender != made.gender:
        other = {"male": "her", "female": "his"}[turned.gender]
        assert other not in WORD.findall(turned.text.lower())


@given(face=samples, seed=seeds)
def test_without_measurements_a_caption_speaks_of_labels_alone(face: Sample, seed: int) -> None:
    assert caption(face, None, random.Random(seed)).literals == ()


@pytest.mark.slow
@given(face=samples, attributes=rows, seed=seeds)
def test_the_same_seed_makes_the_same_caption(face: Sample, attributes: np.ndarray, seed: int) -> None:
    first, second = (caption(face, attributes, random.Random(seed)) for _ in range(2))
    assert first == second


@settings(deadline=None)
@given(face=samples, attributes=rows, seed=seeds)
def test_hiding_a_measurement_makes_pairs_unknown_and_never_turns_them(
    face: Sample, attributes: np.ndarray, seed: int
) -> None:
    chance = random.Random(seed)
    captions = [caption(sample(40), rows, chance) for rows in np.eye(len(ATTRIBUTES), dtype=np.int8)]
    table = torch.from_numpy(attributes)[None]
    hidden = torch.where(
        torch.rand(table.shape, generator=torch.Generator().manual_seed(seed)) < 0.5, table, 0
    )
    whole, partial = (agreement([face], each, captions, sigma=1.5) for each in (table, hidden))
    known = ~partial.unknown
    torch.testing.assert_close(whole.truth[known], partial.truth[known], atol=1e-3, rtol=0)
    assert not (whole.unknown & known).any()


def test_agreement_is_that_of_the_words() -> None:
    faces = [sample(30, "male", "white"), sample(33, "female", "white"), sample(70, "male", "black")]
    captions = [
        Caption("a man aged 30", age=30, gender="male"),
        Caption("a person in their thirties", ages=(30, 39)),
        Caption("a black person", race="black"),
        Caption("a face"),
    ]
    truth, unknown = agreement(faces, None, captions, sigma=1.5)
    assert truth[:, 0].tolist() == pytest.approx([1, 0, 0], abs=1e-6)
    assert truth[:, 1].tolist() == [1, 1, 0]
    assert truth[:, 2].tolist() == [0, 0, 1]
    assert truth[:, 3].tolist() == [1, 1, 1]
    assert not unknown.any()


def test_what_is_unclear_or_unlabelled_is_unknown_unless_something_else_is_false() -> None:
    smile = ((COLUMN["smiling"], 1),)
    faces = [sample(30, "male"), sample(30, "male"), sample(30, "male"), sample(80, "male"), sample(30)]
    table = torch.from_numpy(np.stack([row(smiling=value) for value in (1, -1, 0, 0, 1)]))
    smiling_man = Caption("a smiling man of 30", age=30, gender="male", literals=smile)
    truth, unknown = agreement(faces, table, [smiling_man], sigma=1.5)
    assert truth[:, 0].tolist() == [1, 0, 0, pytest.approx(0, abs=1e-6), 0]
    assert unknown[:, 0].tolist() == [False, False, True, False, True]


def test_a_hint_is_refuted_but_never_confirmed() -> None:
    angry = Caption("an angry person", literals=((COLUMN["smiling"], -1),), sufficient=False)
    table = torch.from_numpy(np.stack([row(smiling=value) for value in (1, -1, 0)]))
    truth, unknown = agreement([sample(30)] * 3, table, [angry], sigma=1.5)
    assert not truth.any()
    assert unknown[:, 0].tolist() == [False, True, True]


@pytest.mark.parametrize(("age", "true"), [(29.0, 1), (29.9, 1), (30.0, 0)])
def test_a_decade_ends_where_the_next_begins(age: float, true: float) -> None:
    twenties = Caption("a person in their twenties", ages=(20, 29))
    assert agreement([sample(age)], None, [twenties], sigma=1.5).truth.item() == true


@pytest.mark.parametrize(
    ("age", "words"), [(0, "zero"), (17, "seventeen"), (34, "thirty four"), (100, "one hundred"), (116, None)]
)
def test_number_words(age: int, words: str | None) -> None:
    assert number_words(age) == (words or "one hundred and sixteen")


def test_captions_have_a_large_vocabulary_and_fit_the_text_tower() -> None:
    assert len(WORDS) >= 1500
    chance, generator = random.Random(0), np.random.default_rng(0)
    texts = []
    for _ in range(2000):
        face = sample(chance.randint(0, 95), chance.choice(["male", "female", None]), "white")
        attributes = generator.choice([-1, 0, 1], len(ATTRIBUTES), p=[0.6, 0.2, 0.2]).astype(np.int8)
        texts.append(caption(face, attributes, chance).text)
    assert len(set(texts)) > 1900
    length = read_recipe("compact").model.clip.architecture["text_cfg"]["context_length"]
    tokens = (open_clip.SimpleTokenizer(context_length=77)(texts) != 0).sum(dim=1)
    assert (tokens <= length).float().mean() > 0.999


@given(st.sampled_from(range(len(ATTRIBUTES))), st.integers(0, 10_000))
def test_the_texts_of_a_pair_differ_in_known_words(column: int, seed: int) -> None:
    present, absent = attribute_pair(column, random.Random(seed))
    assert present != absent
    assert set(WORD.findall(f"{present} {absent}")) <= WORDS


def test_every_attribute_can_be_named() -> None:
    said = {literal for statement in caption_words().statements for literal in statement.literals}
    for name, column in COLUMN.items():
        assert (column, 1) in said, name


@pytest.mark.parametrize("source", ["statements", "hints"])
def test_every_phrase_of_the_word_file_is_whole(source: str) -> None:
    statements: tuple[Statement, ...] = getattr(caption_words(), source)
    for statement in statements:
        assert statement.phrases
        assert all(text and text == " ".join(text.split()) for _, text in statement.phrases)


def test_misspelled_words_stand_for_words_that_captions_say() -> None:
    said = {word for piece in vocabulary() for word in WORD.findall(piece.lower())}
    assert set(caption_words().misspellings) <= said
    right = {word for piece in caption_words().right_texts() for word in WORD.findall(piece.lower())}
    assert not misspellings() & right


def test_the_text_tower_has_tokens_for_more_than_the_captions_say() -> None:
    tokens = set(read_recipe("compact").model.clip.token_ids or ())
    tokenizer = open_clip.SimpleTokenizer(context_length=77)
    assert set(tokenizer(list(general_words())).unique().tolist()) - {0} <= tokens
    assert len(set(general_words()) - WORDS) > 300


def test_visitors_words_are_mostly_known() -> None:
    prompts = visitors_prompts()
    known = [set(WORD.findall(prompt.lower())) <= WORDS for prompt in prompts]
    assert len(prompts) == 300
    assert np.mean(known) > 0.75


@settings(max_examples=150, deadline=None)
@given(face=samples, attributes=rows, seed=seeds)
def test_what_a_sentence_says_can_be_said_without_one(
    face: Sample, attributes: np.ndarray, seed: int
) -> None:
    made = caption(face, attributes, random.Random(seed))
    assert made.draft is not None
    sentence, statement = sentence_of(made.draft)
    spoken = ".+".join(map(re.escape, re.split(r"\{\w+\}", sentence)))
    if not misspellings() & set(WORD.findall(made.text)):
        assert re.search(spoken, made.text)
    assert statement is None or set(statement.literals) <= set(made.literals)
    plain = without_sentence(made.draft, random.Random(seed))
    assert "{" not in plain
    if sentence:
        assert not re.search(spoken, plain)
