"""Jobs of a study side by side: what they give, and that they end together."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest

from cilf.errors import UsageError
from train.studies.side_by_side import side_by_side

ROOT = Path(__file__).parents[3]


def double(number: int) -> int:
    return 2 * number


def fail(sentence: str) -> int:
    raise UsageError(sentence)


def end() -> int:
    os._exit(1)


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_results_stand_by_their_names_in_order(processes: int) -> None:
    jobs = {str(number): partial(double, number) for number in range(5)}
    assert list(side_by_side(jobs, processes).items()) == [("0", 0), ("1", 2), ("2", 4), ("3", 6), ("4", 8)]


@pytest.mark.slow
def test_the_first_failure_ends_the_others() -> None:
    jobs = {"a": partial(fail, "wrong data"), "b": partial(time.sleep, 600), "c": partial(time.sleep, 600)}
    with pytest.raises(UsageError, match="wrong data"):
        side_by_side(jobs, 2)


@pytest.mark.slow
def test_a_process_that_the_system_ends_is_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"ended one of the processes.*give fewer --processes"):
        side_by_side({"a": end, "b": partial(time.sleep, 600)}, 2)


@pytest.mark.slow
def test_a_signal_ends_all(tmp_path: Path) -> None:
    """Children that went on would write into the folder of the next call."""
    program = textwrap.dedent(
        """
        import sys
        from functools import partial
        from tests.train.studies.test_side_by_side import tell_and_wait
        from train.fit.loop import Interrupted
        from train.studies.side_by_side import side_by_side

        if __name__ == "__main__":
            try:
                side_by_side({name: partial(tell_and_wait, f"{sys.argv[1]}/{name}") for name in "abc"}, 2)
            except Interrupted as stop:
                sys.exit(f"{stop}")
        """
    )
    script = tmp_path / "jobs.py"
    script.write_text(program)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env=environment, stderr=subprocess.PIPE, text=True
    )
    while run.poll() is None and not all((tmp_path / name).exists() for name in "ab"):
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=300)
    assert "Stopped; the same command goes on from there." in said
    assert not (tmp_path / "c").exists()
    for name in "ab":
        child = int((tmp_path / name).read_text())
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)


def tell_and_wait(file: str) -> None:
    Path(f"{file}.part").write_text(str(os.getpid()))
    Path(f"{file}.part").replace(file)
    time.sleep(600)
