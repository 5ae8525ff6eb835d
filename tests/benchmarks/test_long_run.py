"""Ten thousand photos on the command line, killed in the middle and started again: `pytest
tests/benchmarks/test_long_run.py -n 0 -s`.

The ten thousand are names of 250 photos: asserts that each has the row of an undisturbed run over these, so that
nothing is lost and nothing done twice. Records pace and memory.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from tests.benchmarks.results import record
from tests.photo_set.generated import pasted_photos

PHOTOS, DISTINCT, SETTLED = 10_000, 250, 500
SIZE = (320, 240)
EVERY_S = 0.5


def memory(process: int) -> float:
    """MB of a process and its children, shared pages shared out; 0 where it is gone."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except (OSError, ProcessLookupError):
        return 0.0
    own = sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return own + sum(map(memory, map(int, children)))


def done(journal: Path) -> int:
    """Photos in it; its first line is of the run."""
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.is_file() else 0


def run(folder: Path, table: Path, kill_at: int | None = None) -> list[tuple[int, float]]:
    """Run the command line to its end, or kill it where so many photos are done: photos and memory over time."""
    command = [sys.executable, "-m", "cilf", "predict", str(folder), "--output", str(table)]
    seen = []
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            photos = done(table.with_suffix(".partial.jsonl"))
            seen.append((photos, memory(process.pid)))
            if kill_at is not None and photos >= kill_at:
                process.kill()
            time.sleep(EVERY_S)
    assert kill_at is not None or process.returncode == 0
    return seen


def linked(folder: Path, photos: list[Path], count: int) -> Path:
    """A folder of `count` names for these photos, one after the other and again."""
    folder.mkdir()
    for number in range(count):
        os.link(photos[number % len(photos)], folder / f"{number:05}.jpg")
    return folder


def ages(table: Path) -> pd.DataFrame:
    """All columns but those that name the file, whose folder differs."""
    rows = pd.read_csv(table)
    return rows.assign(number=rows["path"].str[-9:-4].astype(int)).drop(columns=["path", "error"])


def test_ten_thousand_photos(tmp_path: Path) -> None:
    originals = tmp_path / "originals"
    originals.mkdir()
    for name, content in pasted_photos(DISTINCT, SIZE):
        (originals / name).write_bytes(content)
    photos = sorted(originals.iterdir())
    run(linked(tmp_path / "few", photos, DISTINCT), tmp_path / "few.csv")
    undisturbed = ages(tmp_path / "few.csv").set_index("number")

    folder, table = linked(tmp_path / "many", photos, PHOTOS), tmp_path / "many.csv"
    start = time.perf_counter()
    seen = run(folder, table, kill_at=PHOTOS // 2)
    kept = done(table.with_suffix(".partial.jsonl"))
    seen += run(folder, table)
    seconds = time.perf_counter() - start
    assert kept >= PHOTOS // 2

    rows = ages(table)
    assert rows["number"].drop_duplicates().tolist() == list(range(PHOTOS))
    expected = pd.concat([undisturbed] * (PHOTOS // DISTINCT)).reset_index(drop=True)
    pd.testing.assert_frame_equal(rows.drop(columns="number"), expected, check_dtype=False, atol=1e-3)

    settled = [each for photos, each in seen if SETTLED <= photos < PHOTOS - 1]
    record(
        "long run",
        {
            f"{PHOTOS:,} files of {SIZE[0]}×{SIZE[1]}": {
                "photos/s": PHOTOS / seconds,
                f"MB after {SETTLED} photos": settled[0],
                "MB at most after that": max(settled),
            }
        },
        command="pytest tests/benchmarks/test_long_run.py -n 0 -s",
        method="`python -m cilf predict`, killed in the middle and started again; memory of all its processes.",
    )
