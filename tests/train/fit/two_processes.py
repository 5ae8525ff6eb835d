"""What each of two processes does in `test_processes`: `python -m tests.train.fit.two_processes FOLDER`, with RANK
set."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.train.made_up import FIT, RECIPE, subset
from train.__main__ import main as command
from train.data.datasets import DatasetError
from train.fit.distributed import ProcessError, gather, start_processes
from train.fit.logger import Watch
from train.fit.loop import Interrupted, fit

# Batch statistics would be those of half a batch.
# Of 16 photos each process gets two runs of four, of which the first one has an opposite caption, as in one process.
FROZEN = replace(
    RECIPE,
    loss=replace(RECIPE.loss, attributes=1.0),  # captions name attributes, which the processes exchange
    # At a higher rate the differences that rounding leaves grow from step to step.
    fit=replace(FIT, batch_size=16, epochs=10, learning_rate=1e-3, frozen_statistics=True),
)
SHORT = replace(FROZEN, fit=replace(FROZEN.fit, batch_size=8, epochs=2))
ROWS = torch.arange(12.0).view(4, 3) / 10


@contextmanager
def after_each_step(act: Callable[[int, dict[str, float]], None]) -> Iterator[None]:
    """While open, `act` gets the number and the losses of every step of a run."""
    before = Watch.step

    def step(watch: Watch, number: int, losses: Mapping[str, float], rate: float) -> None:
        before(watch, number, losses, rate)
        act(number, dict(losses))

    Watch.step = step  # type: ignore[method-assign]
    try:
        yield
    finally:
        Watch.step = before  # type: ignore[method-assign]


def loss_of_rows(rows: torch.Tensor) -> torch.Tensor:
    """Compares every row with every other, as a contrastive loss does."""
    return (rows @ rows.T).softmax(dim=1).diagonal().log().sum() + rows.pow(3).sum()


def said(work: Callable[[], Any]) -> str:
    """The message with which `work` ends."""
    try:
        work()
    except (DatasetError, ProcessError, Interrupted) as stop:
        return f"{type(stop).__name__}: {stop}"
    return "went on"


def main(folder: Path) -> None:
    """One thing after another in one pair of processes: starting them takes longer than all of it."""
    rank = int(os.environ["RANK"])
    found: dict[str, Any] = {}
    data = subset()

    def tell() -> None:
        (folder / f"{rank}.json").write_text(json.dumps(found))

    def in_the_second(act: Callable[[], None]) -> Callable[[int, Any], None]:
        return lambda number, _: act() if (rank, number) == (1, 3) else None

    start_processes("fp32", 1)
    mine = ROWS.chunk(2)[rank].clone().requires_grad_()
    loss_of_rows(gather(mine)).backward()
    assert mine.grad is not None
    found["gradient"] = mine.grad.tolist()

    curve: list[dict[str, float]] = []
    with after_each_step(lambda _, losses: curve.append(losses)):
        fit(FROZEN, [data], data, folder / "whole")
    found["curve"] = curve

    whole = fit(SHORT, [data], data, folder / "short").state_dict()
    with after_each_step(in_the_second(lambda: os.kill(os.getpid(), signal.SIGTERM))):
        found["stopped"] = said(lambda: fit(SHORT, [data], data, folder / "stopped"))
    resumed = fit(SHORT, [data], data, folder / "stopped", resume=True).state_dict()
    found["resumed"] = all(torch.equal(value, resumed[name]) for name, value in whole.items())

    files = ["--cache", str(folder / "crops"), "--split", str(folder / "split.csv")]
    recipe = ["--recipe", str(folder / "tiny.toml")]
    found["command"] = command(["fit", *recipe, *files, "--output", str(folder / "command")])

    odd = replace(SHORT, fit=replace(SHORT.fit, batch_size=6))
    found["odd"] = said(lambda: fit(odd, [data], data, folder / "odd"))
    other = replace(data, rows=data.rows[rank:])
    found["other_data"] = said(lambda: fit(SHORT, [other], data, folder / "other"))
    tell()

    with after_each_step(in_the_second(lambda: os._exit(1))):
        found["after_a_death"] = said(lambda: fit(SHORT, [data], data, folder / "death"))
    tell()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
