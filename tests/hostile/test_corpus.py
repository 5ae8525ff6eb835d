"""The fixed corpus: each input is read or refused in a sentence, within ten seconds and a gigabyte."""

import pytest

from tests.hostile import corpus
from tests.hostile.supervisor import outcomes


@pytest.mark.slow
def test_no_input_does_harm() -> None:
    assert len(corpus.corpus()) == corpus.SIZE
    results = list(outcomes(range(corpus.SIZE), corpus.case))
    assert len(results) == corpus.SIZE
    assert [outcome for outcome in results if outcome.bad] == []


@pytest.mark.slow
def test_the_corpus_is_always_the_same() -> None:
    first = [repr(case) for case in corpus.corpus()]
    corpus.corpus.cache_clear()
    assert [repr(case) for case in corpus.corpus()] == first
