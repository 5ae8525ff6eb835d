"""No program is started where the page is imported and a photo is estimated, but two that libraries start.

Importing MediaPipe would start a compiler and a linker, in search of PortAudio.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Python reports these before they happen; an exception from the hook stops them.
# https://docs.python.org/3.11/library/audit_events.html
GUARD = """
import sys

STARTS = {
    "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "pty.spawn",
    "subprocess.Popen",
}

# PyTorch's CUDA wheels ask ldconfig where libdl lies (cuda.pathfinder, when torch is imported); NumPy 1.26 asks lscpu
# whether the processor has SVE (numpy.testing, which scipy.fft imports).
OF_LIBRARIES = {"ldconfig", "lscpu"}

def refuse(event, arguments):
    if event == "subprocess.Popen" and str(arguments[0]).rpartition("/")[2] in OF_LIBRARIES:
        return
    if event in STARTS:
        raise SystemExit(f"{event} {arguments} was called")

sys.addaudithook(refuse)
"""

PROGRAM = """
import app
import cilf
from matplotlib.cbook import get_sample_data

with get_sample_data("grace_hopper.jpg") as photo:
    [face] = cilf.AgeEstimator.from_pretrained().predict(photo.name, prompts=["a child"])
assert 0 <= face.age <= 100
assert "mediapipe" not in sys.modules
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", GUARD + program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_page_and_estimate_start_no_program() -> None:
    done = run(PROGRAM)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("start", ["os.system('true')", "subprocess.run(['true'])", "os.fork()"])
def test_the_guard_sees_a_start(start: str) -> None:
    done = run(f"import os, subprocess\n{start}")
    assert done.returncode == 1
    assert "was called" in done.stderr
