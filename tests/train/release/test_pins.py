"""`train.release.pins`: the package knows the checkpoints that it brings."""

import json

from cilf.checkpoint import BUNDLED, PINS, bundled, is_bundled
from train.release.pins import pins


def test_the_pins_are_those_of_the_bundled_files() -> None:
    assert json.loads(PINS.read_text()) == pins(), "refresh them with `python -m train pin`"
    assert all(is_bundled(bundled(name)) for name in BUNDLED)
