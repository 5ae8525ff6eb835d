"""What one sees of a run while it goes: progress bar, TensorBoard curves, a log, and a picture of the first batch.

Of several processes only the first shows anything.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import save_image
from tqdm import tqdm

from train.data.batches import Batch

LOG, CURVES, SAMPLES = "log.jsonl", "tensorboard", "samples.png"
SHOWN = 64  # photos in the picture of the first batch


class Watch:
    """Open it with `with`; a run of `steps` steps that begins at `first`."""

    def __init__(self, folder: Path, steps: int, first: int, batch_size: int, *, shown: bool) -> None:
        self._folder = folder
        self._batch_size = batch_size
        self._shown = shown
        self._bar = tqdm(
            total=steps, initial=first, desc="fit", unit="step", smoothing=0.05, disable=not shown
        )
        if shown and first == 0:
            for name in (LOG, SAMPLES):  # of an earlier run in the same folder
                (folder / name).unlink(missing_ok=True)
        if shown and (folder / LOG).is_file():
            rows = [json.dumps(row) + "\n" for row in read_log(folder) if row["step"] <= first]
            (folder / LOG).write_text("".join(rows), encoding="utf-8")
        # What an interrupted run wrote after its last saved step is hidden: those steps come again.
        self._curves = SummaryWriter(folder / CURVES, purge_step=first + 1) if shown else None
        self._last: float | None = None
        self._steps = 0  # since then

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._curves is not None:
            self._curves.close()

    def loaded(self, batch: Batch) -> None:
        """Before a step. The first photos of a run are drawn as the model gets them."""
        if self._last is None:
            path = self._folder / SAMPLES
            if self._shown and not path.is_file():
                save_image(batch.pixels[:SHOWN], path, nrow=8, padding=2)
            self._last = time.perf_counter()

    def step(self, step: int, losses: Mapping[str, float], rate: float) -> None:
        """After a step (counted from 1) of learning rate `rate`; no losses where they were not read."""
        self._bar.update()
        self._steps += 1
        if not losses:
            return
        self._bar.set_postfix({name: f"{value:.3f}" for name, value in losses.items()}, refresh=False)
        now = time.perf_counter()
        if self._curves is not None and self._last is not None:
            for name, value in losses.items():
                self._curves.add_scalar(f"loss/{name}", value, step)
            self._curves.add_scalar("learning rate", rate, step)
            self._curves.add_scalar(
                "images per second", self._steps * self._batch_size / (now - self._last), step
            )
        self._last, self._steps = now, 0

    def epoch(self, epoch: int, step: int, tune_mae: float, losses: Mapping[str, float]) -> None:
        """After an epoch (counted from 1)."""
        if self._curves is not None:
            self._bar.write(f"epoch {epoch}: tune MAE {tune_mae:.3f}")
            self._curves.add_scalar("tune MAE", tune_mae, step)
            self._curves.flush()
            row = {"epoch": epoch, "step": step, "tune_mae": tune_mae, **losses}
            with (self._folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        self._last, self._steps = time.perf_counter(), 0


def read_log(folder: Path) -> list[dict[str, Any]]:
    """One row per finished epoch of a run; none when it has no log."""
    path = folder / LOG
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
