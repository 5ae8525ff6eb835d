"""The models table of README, written from checkpoints, reports and benchmark figures."""

import json
import math
from pathlib import Path
from typing import Any

from safetensors import safe_open

from cilf.checkpoint import BUNDLED, CARD, GRAPH, REPORT, WEIGHTS
from train.formatting import with_section

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = Path("tests", "benchmarks", "results.json")

HEADER = """\
| name | parameters | size | MAE, years | CS@5 | 90 % interval holds | ms a face |
|---|---|---|---|---|---|---|"""


def table(root: Path = ROOT) -> str:
    """Markdown with one row for each bundled checkpoint of the checkout `root`."""
    milliseconds = _milliseconds(root / BENCHMARKS)
    return "\n".join([HEADER, *(_row(root, name, milliseconds.get(name)) for name in BUNDLED)])


def write(root: Path = ROOT) -> Path:
    """Write the table into README between the comments `<!-- models -->` and `<!-- /models -->`."""
    readme = root / "README.md"
    readme.write_text(
        with_section(readme.read_text(encoding="utf-8"), "models", table(root)), encoding="utf-8"
    )
    return readme


def parameters(weights: Path) -> int:
    """The network's parameters in a checkpoint's weights, from the file's header alone; without the running statistics
    of its batch normalisations, and without the error ensemble and the embeddings of calibration photos."""
    with safe_open(weights, framework="numpy") as file:
        keys = file.keys()
        names = [name for name in keys if name.startswith("model.") and ".running_" not in name]
        tensors = [file.get_slice(name) for name in names]
        return sum(math.prod(tensor.get_shape()) for tensor in tensors if "F" in tensor.get_dtype())


def _row(root: Path, name: str, milliseconds: float | None) -> str:
    folder = Path("checkpoints", name)
    result = json.loads((root / folder / REPORT).read_text(encoding="utf-8"))["all"]
    files = [root / folder / file for file in (WEIGHTS, GRAPH)]
    size = sum(file.stat().st_size for file in files if file.is_file())
    return (
        f"| [`{name}`]({(folder / CARD).as_posix()}) | {parameters(root / folder / WEIGHTS) / 1e6:.1f} M "
        f"| {size / 1e6:.1f} MB | {result['mae']:.2f} | {result['cs5']:.1%} "
        f"| {result['interval']['coverage']:.1%} | {'–' if milliseconds is None else f'{milliseconds:.0f}'} |"
    )


def _milliseconds(path: Path) -> dict[str, float]:
    """Checkpoint → milliseconds that one crop takes on a CPU; empty where nobody measured."""
    if not path.is_file():
        return {}
    measured: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")).get("one crop", {})
    return {name: row["ms"] for name, row in measured.get("rows", {}).items()}
