"""The tokenizer gives open_clip's ids, and knows the words of the captions."""

import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cilf.demo.photo.prompt_presets import PRESETS
from cilf.inference.tokenizer import END, START, Tokenizer, nearest_words, unknown_words
from tests import tiny
from train.fit.recipe import read_recipe

TOKENIZER, OPEN_CLIP = Tokenizer(tiny.CLIP, 24), open_clip.SimpleTokenizer(context_length=24)
TEXTS = [
    "",
    "a photo of a 34 year old woman.",
    "It's what they'd say — we’ll see: 1234 &amp; &#39;",
    "naïve Ünïcode, 日本語, emoji 👩🏽‍🦰 and\ttabs\n",
    f"{START} inside {END} a text {END.upper()}",
    "supercalifragilisticexpialidocious " * 20,
    *(prompt for prompts in PRESETS.values() for prompt in prompts),
]


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_open_clips(text: str) -> None:
    assert TOKENIZER([text])[0].tolist() == OPEN_CLIP([text])[0].tolist()[: TOKENIZER([text]).shape[1]]


@pytest.mark.slow
@settings(deadline=None)
@given(st.text(max_size=60))
def test_so_they_are_of_any_text(text: str) -> None:
    ids = TOKENIZER([text])[0].tolist()
    assert ids == OPEN_CLIP([text])[0].tolist()[: len(ids)]
    assert ids[-1] == OPEN_CLIP.eot_token_id


def test_the_tokenizer_remembers_a_bounded_number_of_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cilf.inference.tokenizer.MAX_CACHED_WORDS", 10)
    tokenizer = Tokenizer(tiny.CLIP, 24)
    texts = [f"zzxq{chr(97 + first)}{chr(97 + second)}" for first in range(8) for second in range(8)]
    first = [tokenizer([text]).tolist() for text in texts]
    assert tokenizer.ids_of_word.cache_info().currsize <= 10
    assert [tokenizer([text]).tolist() for text in texts] == first


def test_words_outside_the_captions_are_named_once_in_order() -> None:
    config = read_recipe("compact").model.clip
    assert unknown_words(config, "A photo of a 34 year old Woman.") == []
    assert unknown_words(config, "a freckled quokka, freckled woman") == ["freckled", "quokka"]
    assert unknown_words(tiny.CLIP, "anything at all") == []


def test_the_nearest_known_words_are_offered_and_no_misspelled_ones() -> None:
    config = read_recipe("compact").model.clip
    nearest = nearest_words(config, "a smilying personn with a qqzzqq")
    assert list(nearest) == ["smilying", "personn", "qqzzqq"]
    assert nearest["smilying"][0] == "smiling"
    assert nearest["personn"][0] == "person"
    assert nearest["qqzzqq"] == []
    assert not {word for words in nearest.values() for word in words} & set(config.misspelled)
    assert unknown_words(config, "smileing") == []
    assert nearest_words(tiny.CLIP, "anything at all") == {}
