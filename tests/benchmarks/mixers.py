"""FourierFormer against attention: `python -m tests.benchmarks.mixers [FIGURE.png]`.

Time and peak memory of one forward and backward pass over square grids, batch 1, 256 channels, 8 heads, 2 threads: the
mixer alone, and the whole block (as many parameters within 3 %). Attention is measured with its matrix formed
("explicit") and as PyTorch's fused kernel. Each measurement has a process of its own, whose memory starts clean.

Records a table and the slopes of log time over log positions from 28² up: 1 is linear, 2 quadratic.
"""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cilf.model.fourierformer import FourierFormerBlock
from tests.benchmarks.results import record
from train.studies.block_variants import AttentionBlock

CHANNELS, HEADS, SIDES, SLOPE_FROM = 256, 8, (7, 14, 28, 56, 112), 28
KINDS = ("FourierFormer", "attention, explicit", "attention, fused")
LARGEST_EXPLICIT = 56  # its matrix for 112² positions would take 5 GB
SECONDS = 3.0  # of repetitions for one median


@dataclass(frozen=True)
class Measured:
    """Milliseconds (medians) and peak memory in MB above what the process held before, for one kind and grid."""

    kind: str
    part: str
    side: int
    forward: float
    backward: float
    memory: float


class _FourierMixer(nn.Module):
    """The spatial half of a FourierFormer block: what takes attention's place."""

    def __init__(self, block: FourierFormerBlock) -> None:
        super().__init__()
        self.spatial, self.project = block.spatial, block.project

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.spatial(x))


class _AttentionMixer(nn.Module):
    def __init__(self, block: AttentionBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block.mix(x.flatten(2).transpose(1, 2))


def build(kind: str, part: str) -> nn.Module:
    if kind == "FourierFormer":
        block = FourierFormerBlock(CHANNELS)
        return _FourierMixer(block) if part == "mixer" else block
    attention = AttentionBlock(CHANNELS, HEADS, mlp_ratio=0.5, explicit=kind.endswith("explicit"))
    return _AttentionMixer(attention) if part == "mixer" else attention


def measure(kind: str, part: str, side: int) -> Measured:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    module = build(kind, part)
    x = torch.randn(1, CHANNELS, side, side, requires_grad=True)

    def once() -> tuple[float, float]:
        start = time.perf_counter()
        y = module(x)
        middle = time.perf_counter()
        y.backward(torch.ones_like(y))
        return 1000 * (middle - start), 1000 * (time.perf_counter() - middle)

    small = torch.randn(1, CHANNELS, 4, 4, requires_grad=True)
    module(small).sum().backward()  # the libraries set themselves up
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is held now
    before = _memory("VmRSS")
    once()
    peak = _memory("VmHWM") - before
    times, end = [], time.perf_counter() + SECONDS
    while len(times) < 5 or time.perf_counter() < end:
        times.append(once())
    forward, backward = np.median(times, axis=0)
    return Measured(kind, part, side, float(forward), float(backward), peak)


def _memory(field: str) -> float:
    """MB, from Linux's account of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"this system does not tell {field}")


def measure_all() -> Iterator[Measured]:
    context = get_context("spawn")
    for part in ("mixer", "block"):
        for kind in KINDS:
            for side in SIDES:
                if kind.endswith("explicit") and side > LARGEST_EXPLICIT:
                    continue
                with ProcessPoolExecutor(1, context) as pool:
                    yield pool.submit(measure, kind, part, side).result()


def slope(rows: list[Measured], value: str) -> float:
    """Exponent of the growth with the number of positions, from 28² up."""
    chosen = [row for row in rows if row.side >= SLOPE_FROM]
    positions = np.log([row.side**2 for row in chosen])
    return float(np.polyfit(positions, np.log([_total(row, value) for row in chosen]), 1)[0])


def _total(row: Measured, value: str) -> float:
    return row.forward + row.backward if value == "time" else row.memory


def by_grid(rows: list[Measured], part: str) -> dict[str, dict[str, float]]:
    """Milliseconds and MB of one part: a row for each grid, and the exponents of their growth."""
    own = [row for row in rows if row.part == part]
    grids: dict[str, dict[str, float]] = {}
    for row in own:
        columns = {f"{row.kind}, ms": _total(row, "time"), f"{row.kind}, MB": row.memory}
        grids.setdefault(f"{row.side}²", {}).update(columns)
    grids[f"exponent from {SLOPE_FROM}² up"] = {
        f"{kind}, {unit}": slope([row for row in own if row.kind == kind], value)
        for kind in KINDS
        for unit, value in (("ms", "time"), ("MB", "memory"))
    }
    return grids


def figure(rows: list[Measured], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    drawing, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    colours = dict(zip(KINDS, ("#0b6aa8", "#8a8a8a", "#d9820f"), strict=True))
    for kind in KINDS:
        for part, dash in (("mixer", "--"), ("block", "-")):
            own = [row for row in rows if row.part == part and row.kind == kind]
            positions = [row.side**2 for row in own]
            for axis, value in zip(axes, ("time", "memory"), strict=True):
                axis.loglog(
                    positions,
                    [_total(row, value) for row in own],
                    f"o{dash}",
                    color=colours[kind],
                    markersize=3,
                    label=f"{kind}, {part}",
                )
    axes[0].set(xlabel="positions", ylabel="forward and backward, ms")
    axes[1].set(xlabel="positions", ylabel="peak memory, MB")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    drawing.savefig(path, dpi=120)
    plt.close(drawing)


def main(arguments: list[str]) -> None:
    rows = list(measure_all())
    for part, what in (("block", "whole blocks"), ("mixer", "filter and attention alone")):
        record(
            f"FourierFormer against attention: {what}",
            by_grid(rows, part),
            command="python -m tests.benchmarks.mixers assets/mixers.png",
            method=f"Forward and backward over square grids, batch 1, {CHANNELS} channels, {HEADS} heads, two threads; "
            "medians, and peak memory above what the process held before. Blocks have equal parameters within 3 %.",
        )
    if arguments:
        figure(rows, Path(arguments[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
