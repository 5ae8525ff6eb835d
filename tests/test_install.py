"""The built wheel holds all that a prediction needs: it works away from the checkout and without a network."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]

# Runs in a process of its own, where only the wheel's `cilf` can be found before the checkout's.
PROGRAM = """
import json, socket

def no_network(*address):
    raise OSError("the network is not to be used")

socket.socket.connect = socket.getaddrinfo = no_network

import cilf
from matplotlib.cbook import get_sample_data

with get_sample_data("grace_hopper.jpg") as photo:
    estimator = cilf.AgeEstimator.from_pretrained()
    faces = estimator.predict(photo.name)
print(json.dumps({"package": cilf.__file__, "faces": len(faces), "age": faces[0].age}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("cilf-*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the installed wheel; its dependencies come from the environment of the tests."""
    folder = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--target", folder, wheel)
    return folder


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"PIP_NO_INDEX": "1"}
    )
    assert done.returncode == 0, done.stderr


def run_away(site: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, with the installed wheel in front of everything else."""
    # No bytecode, so that the installed folder stays as the wheel made it.
    environment = os.environ | {
        "PYTHONPATH": str(site),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_holds_the_package_and_the_bundled_checkpoint_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {"cilf/estimator.py", "cilf/py.typed"} <= set(names)
    assert any(
        name.startswith("cilf/checkpoints/compact/") and name.endswith(".safetensors") for name in names
    )
    assert any(name.endswith("licenses/LICENSE") for name in names)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"cilf"}


def test_a_prediction_from_the_wheel_in_another_folder_without_a_network(site: Path, tmp_path: Path) -> None:
    done = run_away(site, tmp_path, sys.executable, "-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert Path(told["package"]).is_relative_to(site)
    assert told["faces"] == 1
    assert 0 <= told["age"] <= 100


def test_the_command_from_the_wheel(site: Path, tmp_path: Path) -> None:
    done = run_away(site, tmp_path, sys.executable, str(site / "bin" / "cilf"), "predict", "nowhere.jpg")
    assert done.returncode == 0, done.stderr
    assert "'nowhere.jpg' does not exist" in done.stdout
