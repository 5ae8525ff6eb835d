"""The bundled checkpoints' hashes, by which the package knows them and loads them without a trial."""

import hashlib
import json

from cilf.checkpoint import BUNDLED, CONFIG, PINS, bundled


def pins() -> dict[str, str]:
    """Name of each bundled checkpoint → SHA-256 of its configuration, which names those of weights and graph."""
    return {name: hashlib.sha256((bundled(name) / CONFIG).read_bytes()).hexdigest() for name in BUNDLED}


def write() -> None:
    """Write `pins` into the package."""
    PINS.write_text(json.dumps(pins(), indent=1) + "\n", encoding="utf-8")
