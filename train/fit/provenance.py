"""What a run was made of, so that it can be repeated: recipe, seed, commit of the code, fingerprint of the data."""

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from cilf.checkpoint import Checkpoint
from train.data.datasets import DatasetError
from train.fit.distributed import check_same
from train.fit.recipe import AnyRecipe

RUN = "run.json"
LIBRARIES = ("torch", "timm", "open_clip_torch", "numpy")
# What a resumed run must share with its beginning, and its name for people.
REPEATED = {
    "recipe": "recipe",
    "model_sha256": "network",
    "data_sha256": "data",
    "teachers_sha256": "teachers",
}


class Fingerprinted(Protocol):
    """Training data that can be told from others (`train.data.crop_cache.Subset`, `train.data.shards.ShardSet`)."""

    def fingerprint(self) -> str: ...


def describe(
    recipe: AnyRecipe,
    train: Sequence[Fingerprinted],
    start: Checkpoint | None,
    teachers: Sequence[Checkpoint],
    processes: int,
) -> dict[str, Any]:
    """JSON values; raises ProcessError when the processes' data differ.

    Of the network's sizes there is a digest alone: they stand in the checkpoint. `data_sha256` holds one
    fingerprint for each of the recipe's data sets, in their order; `start_sha256` that of the weights that the run
    started from, and `start` what they were made of themselves; `teachers_sha256` and `teachers` the same of the models
    that taught it.
    """
    fingerprints = [part.fingerprint() for part in train]
    check_same("training data", fingerprints)
    chosen = {name: value for name, value in asdict(recipe).items() if name != "model"}
    commit, changed = _commit()
    return {
        "recipe": json.loads(json.dumps(chosen)),
        "model_sha256": digest(asdict(recipe.model)),
        "seed": recipe.fit.seed,
        "data_sha256": fingerprints,
        "commit": commit,
        "uncommitted_changes": changed,
        "start_sha256": None if start is None else weights_sha256(start.model.state_dict()),
        "start": None if start is None else start.config.training,
        "teachers_sha256": [weights_sha256(teacher.model.state_dict()) for teacher in teachers],
        "teachers": [teacher.config.training for teacher in teachers],
        "processes": processes,
        "versions": {name: version(name) for name in LIBRARIES},
    }


def learned_from(training: dict[str, Any]) -> list[str]:
    """The data sets of a checkpoint's `training` table, of the runs that it started from and of its teachers: each
    once, the last run's first."""
    start = training.get("start")
    earlier = [*([start] if start else []), *training.get("teachers", ())]
    names = [name for run in earlier for name in learned_from(run)]
    return list(dict.fromkeys([*training.get("data", ()), *names]))


def write(record: dict[str, Any], folder: Path, *, resumed: bool) -> None:
    """Put down what the run in `folder` is made of; a resumed one keeps what it was begun with.

    Raises DatasetError when it was begun with another recipe or network or other data: it could not end as if never
    stopped. Runs from before the network was put down are not asked for it.
    """
    path = folder / RUN
    if resumed and path.is_file():
        check_run(folder, record)
        return
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def check_run(folder: Path, record: dict[str, Any]) -> None:
    """Raise DatasetError where the run in `folder` was begun with another recipe or network or other data than the
    record's; a folder without a run passes."""
    begun = read(folder)
    other = " and ".join(
        label for name, label in REPEATED.items() if begun.get(name, record[name]) != record[name]
    )
    if other:
        raise DatasetError(
            f"The run in {folder} was begun with other {other}; resume it with the same, or give another folder."
        )


def check_start(folder: Path, start: Checkpoint | None) -> None:
    """Raise DatasetError where the run in `folder` was begun from other weights than those of `start`."""
    sha256 = None if start is None else weights_sha256(start.model.state_dict())
    if read(folder).get("start_sha256", sha256) != sha256:
        raise DatasetError(
            f"The run in {folder} was begun from other weights; remove it, or give another folder."
        )


def read(folder: Path) -> dict[str, Any]:
    """What `write` put down; empty for a run that has nothing."""
    path = folder / RUN
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def of_seeds(folders: Sequence[Path]) -> dict[str, Any]:
    """Read what runs that differ in their seeds alone were made of: of one what `read` gives, of several that of the
    first and all their `seeds`.

    Raises DatasetError where they do not differ in their seeds, or in more.
    """
    first, *others = [read(folder) for folder in folders]
    for folder, other in zip(folders[1:], others, strict=True):
        differ = [
            name for name in (*REPEATED, "start_sha256") if _unseeded(other, name) != _unseeded(first, name)
        ]
        if differ:
            raise DatasetError(
                f"The runs in {folders[0]} and {folder} differ in more than their seeds ({', '.join(differ)}); give "
                "runs of one recipe, start and data."
            )
    seeds = [made_of.get("seed") for made_of in (first, *others)]
    if len(set(seeds)) < len(seeds):
        raise DatasetError(
            f"Two of the runs in {', '.join(map(str, folders))} have one seed; give each once."
        )
    return first | {"seeds": seeds} if others else first


def _unseeded(made_of: Mapping[str, Any], name: str) -> Any:
    value = made_of.get(name)
    if name != "recipe" or value is None:
        return value
    return value | {"fit": {key: each for key, each in value["fit"].items() if key != "seed"}}


def digest(value: Any) -> str:
    """SHA-256 of JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of weights: their names and values."""
    digest = hashlib.sha256()
    for name, value in weights.items():
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


def _commit() -> tuple[str | None, bool | None]:
    """The commit of this checkout, and whether files that git follows differ from it; None outside of git."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit, bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(*arguments: str) -> str:
    folder = Path(__file__).parent
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
