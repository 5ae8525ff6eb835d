"""The example portraits."""

from dataclasses import replace

import numpy as np
import pytest

from cilf.demo.photo.tab import examples


def test_both_portraits_are_there() -> None:
    portraits = examples.available()
    assert [example.key for example, _ in portraits] == ["hopper", "collins"]
    assert all(portrait.ndim == 3 and portrait.dtype == np.uint8 for _, portrait in portraits)


def test_a_missing_portrait_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> np.ndarray:
        raise FileNotFoundError

    monkeypatch.setattr(
        examples, "EXAMPLES", (replace(examples.EXAMPLES[0], load=missing), examples.EXAMPLES[1])
    )
    assert [example.key for example, _ in examples.available()] == ["collins"]
