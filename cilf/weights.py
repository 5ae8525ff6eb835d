"""Checkpoints: safetensors plus a JSON file that says how to build the model. Bundled, in a folder, or on the Hub."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cilf.age_model import AgeModel
from cilf.conformal import IntervalConfig
from cilf.correction import CorrectionConfig, EnsembleConfig
from cilf.decision import DecisionConfig
from cilf.errors import WeightsError
from cilf.systems import ErrorNetwork, SystemConfig, build, build_errors

CONFIG, WEIGHTS, REPORT, CARD = "config.json", "model.safetensors", "report.json", "README.md"
NAME = "compact"
BUNDLED = (NAME, "mtmsa")
ELSEWHERE = "give a folder or Hub repository with a CILF checkpoint, or none for the bundled one"


@dataclass(frozen=True)
class CheckpointConfig:
    """Everything beside the tensors.

    Attributes:
        model: how to build the network of either system.
        ensemble: how to build the error ensemble; None where the network's own distribution says what error to expect.
        correction, interval, decision: the calibrated rules.
        mirror: whether each crop is described together with its mirror image.
        training: what made the weights (recipe, seed, data, commit); for people, not read by the program.
        sha256: of the weights file; filled in by `save`.
        format: version of this layout.
    """

    model: SystemConfig
    ensemble: EnsembleConfig | None
    correction: CorrectionConfig
    interval: IntervalConfig
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    mirror: bool = True
    training: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    format: Literal["cilf-2"] = "cilf-2"


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint; both networks in eval mode.

    `source` says in words what was loaded and from where; `report` and `card` are the evaluation report and the model
    card that lie beside the weights, None and "" where they do not.
    """

    model: AgeModel
    ensemble: ErrorNetwork
    config: CheckpointConfig
    source: str
    report: dict[str, Any] | None = None
    card: str = ""


def save(folder: Path, model: AgeModel, ensemble: ErrorNetwork, config: CheckpointConfig) -> None:
    """Write weights (fp16) and configuration into `folder`, creating it."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in _parts(model, ensemble).state_dict().items()
    }
    save_file(tensors, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes it for the owner alone, and a wheel keeps the mode
    stored = TypeAdapter(CheckpointConfig).dump_python(config, mode="json")
    stored["sha256"] = _sha256(folder / WEIGHTS)
    (folder / CONFIG).write_text(_readable(stored), encoding="utf-8")


def _readable(stored: dict[str, Any]) -> str:
    """JSON, one entry a line, but a list of numbers or words on one line."""
    text = json.dumps(stored, indent=1, ensure_ascii=False)
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: re.sub(r"\n\s*", " ", found[0]), text) + "\n"


def load(source: str | Path | None = None, *, revision: str | None = None) -> Checkpoint:
    """Load a checkpoint.

    Args:
        source: None for the bundled one, a folder, a name in `BUNDLED`, or `user/repository` on the Hugging Face Hub
            (fetched once, then read from the Hub's cache, also without a network).
        revision: branch, tag or commit of a Hub repository.

    Raises:
        WeightsError: nothing is there, a file is missing, damaged or not a CILF checkpoint, or the Hub cannot be
            reached.
    """
    if source is None:
        folder = bundled()
        said = f"{NAME} (bundled)"
    elif Path(source).is_dir():
        folder = Path(source)
        said = f"folder {folder}"
    elif source in BUNDLED:
        folder = bundled(str(source))
        said = f"{source} (bundled)"
    else:
        folder = _fetch(str(source), revision)
        said = f"{source} (Hugging Face Hub{f', {revision}' if revision else ''})"
    config = read_config(folder)
    model, ensemble = build(config.model), build_errors(config.ensemble)
    tensors = _read_tensors(folder / WEIGHTS, config.sha256)
    try:
        _parts(model, ensemble).load_state_dict(tensors)
    except RuntimeError as error:
        raise WeightsError(
            f"'{folder / WEIGHTS}' does not fit the configuration beside it; {ELSEWHERE}"
        ) from error
    return Checkpoint(
        model.eval(),
        ensemble.eval(),
        config,
        said,
        read_report(folder),
        (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else "",
    )


def read_config(folder: Path) -> CheckpointConfig:
    """Read and check a checkpoint's configuration. Raises WeightsError."""
    path = folder / CONFIG
    if not path.is_file():
        raise WeightsError(f"'{folder}' holds no {CONFIG}; {ELSEWHERE}")
    try:
        return TypeAdapter(CheckpointConfig).validate_json(path.read_bytes())
    except ValidationError as error:
        raise WeightsError(f"'{path}' is not a CILF configuration; {ELSEWHERE}") from error


def bundled(name: str = NAME) -> Path:
    """The folder of a checkpoint that comes with the package. Raises WeightsError when it is not there."""
    package = Path(__file__).parent
    for folder in (package / "checkpoints" / name, package.parent / "checkpoints" / name):
        if (folder / CONFIG).is_file():
            return folder
    raise WeightsError(
        f"the bundled checkpoint {name!r} is missing from this installation; install the package again"
    )


def read_report(folder: Path) -> dict[str, Any] | None:
    """A checkpoint's evaluation report, None where there is none. Raises WeightsError when it is damaged."""
    path = folder / REPORT
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise WeightsError(f"'{path}' is damaged; fetch it again or remove it") from error


def _parts(model: nn.Module, ensemble: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict({"model": model, "ensemble": ensemble})


def _read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"'{path}' is missing; {ELSEWHERE}")
    if _sha256(path) != sha256:
        raise WeightsError(f"'{path}' is damaged or of another checkpoint; fetch it again")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"'{path}' cannot be read; fetch it again") from error
    return {name: value.float() if value.dtype == torch.float16 else value for name, value in tensors.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(name: str, revision: str | None) -> Path:
    """Download a Hub repository into the Hub's cache, or find it there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=[CONFIG, WEIGHTS, REPORT, CARD])
        )
    except HFValidationError:
        raise WeightsError(
            f"'{name}' is neither a folder nor the name of a Hub repository; {ELSEWHERE}"
        ) from None
    except GatedRepoError:
        raise WeightsError(
            f"'{name}' asks for permission; request it on the Hub and log in with `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise WeightsError(
            f"'{name}' is neither a folder nor a repository on the Hugging Face Hub; check the name, or log in with "
            "`hf auth login` when it is private"
        ) from None
    except RevisionNotFoundError:
        raise WeightsError(
            f"'{name}' has no revision '{revision}'; check the branch, tag or commit"
        ) from None
    except LocalEntryNotFoundError:
        raise WeightsError(
            f"'{name}' is no folder, and the Hugging Face Hub cannot be reached; check the name and the network"
        ) from None
    except OSError as error:
        raise WeightsError(f"'{name}' could not be fetched from the Hugging Face Hub ({error})") from error
