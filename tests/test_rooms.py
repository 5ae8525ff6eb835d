"""The order of the code: folders that are read at a glance, no circle of imports, names that say what they hold.

Who may import whom stands in `pyproject.toml` and is checked by `lint-imports`.
"""

import ast
import subprocess
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
MOST_FILES = 16
ONE_FILE_A_SET = "train/data/datasets"
# Say what it is instead: report, rows, result, metrics, teachers …
VAGUE_NAMES = {"found", "said", "wanted", "theirs", "taught", "looked"}


def tracked_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return [name for name in listed.stdout.decode().split("\0") if name]


def test_no_folder_holds_too_many_files() -> None:
    counts = Counter(str(PurePosixPath(name).parent) for name in tracked_files())
    del counts["."], counts[ONE_FILE_A_SET]
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}


def test_no_import_goes_in_a_circle() -> None:
    graph = grimp.build_graph("cilf", "train", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def names_in(path: Path) -> list[str]:
    """Every name that a file gives or uses: variables, arguments, functions, attributes and imports."""
    fields = ("id", "arg", "name", "attr", "asname")
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [name for node in nodes for field in fields if isinstance(name := getattr(node, field, None), str)]


@pytest.mark.parametrize("package", ["cilf", "train"])
def test_names_say_what_they_hold(package: str) -> None:
    vague = {
        str(path.relative_to(ROOT)): count
        for path in sorted((ROOT / package).rglob("*.py"))
        if (count := sum(name in VAGUE_NAMES for name in names_in(path)))
    }
    assert vague == {}
