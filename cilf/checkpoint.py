"""Checkpoints: safetensors plus a JSON file that says how to build the model. Bundled, in a folder, or on the Hub."""

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Discriminator, Field, TypeAdapter, ValidationError
from pydantic_core import from_json
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from cilf import hub
from cilf.conformal import ConformalConfig
from cilf.errors import DamagedError, WeightsError
from cilf.face.views import View
from cilf.hub import Progress
from cilf.inference.correction import CorrectionConfig
from cilf.inference.earlier import EarlierConfig, EarlierConformal, padded
from cilf.inference.error_models import EnsembleConfig, ErrorEnsemble, ErrorNetwork, GaussianError
from cilf.inference.familiarity import Familiarity, FamiliarityConfig
from cilf.inference.onnx_runtime import Graph, GraphNetwork
from cilf.inference.outputs import Network
from cilf.inference.predictive import PredictiveConfig
from cilf.inference.text_tower import TextTower
from cilf.model.config import ModelConfig
from cilf.model.registry import FAMILIES, SystemConfig, family_of
from cilf.untrusted import small_file
from cilf.untrusted.bounds import Name, Names
from cilf.untrusted.graph_check import MAX_GRAPH_BYTES, check_graph

# Where PyTorch computes, it is imported at the first use.
if TYPE_CHECKING:
    from cilf.model.base import AgeModel

log = logging.getLogger(__name__)

CONFIG, WEIGHTS, GRAPH = "config.json", "model.safetensors", "network.onnx"
REPORT, CARD = "report.json", "README.md"
FILES = (CONFIG, WEIGHTS, GRAPH, REPORT, CARD)
BUNDLED = tuple(family.bundled for family in FAMILIES.values() if family.bundled)
NAME = BUNDLED[0]
PINS = Path(__file__).with_name("bundled.json")  # name → SHA-256 of its configuration: `python -m train pin`
MAX_CONFIG_BYTES = 4 * 2**20  # a hundred times the bundled ones
MAX_REPORT_BYTES, MAX_CARD_BYTES = 4 * 2**20, 2**20  # likewise
ELSEWHERE = "give a folder or Hub repository with a CILF checkpoint, or none for the bundled one"


@dataclass(frozen=True)
class GraphConfig:
    """What goes with a `Graph`'s file: the names of the weights that it takes, and the file's own hash."""

    weights: Names
    sha256: Name


@dataclass(frozen=True)
class CheckpointConfig:
    """Everything except the tensors.

    Attributes:
        model: how to build the network of either system.
        ensemble: how to build the error ensemble; None where the network's own distribution says what error to expect.
        correction, predictive, conformal: the calibrated rules.
        views: the further views of a face in the order in which they are asked for.
        familiarity: how a picture unlike the calibration photos is told; its photos' embeddings lie with the weights.
        mirror: whether each crop is described together with its mirror image.
        training: what made the weights (recipe, seed, data, commit); for people, not read by the program.
        sha256: of the weights file; filled in by `save`.
        graph: of the network as a graph, where one lies beside the weights; filled in by `add_graph`.
        format: version of this layout.
    """

    model: SystemConfig
    ensemble: EnsembleConfig | None
    correction: CorrectionConfig
    predictive: PredictiveConfig = field(default_factory=PredictiveConfig)
    conformal: Annotated[ConformalConfig | EarlierConformal, Discriminator("kind")] = field(
        default_factory=ConformalConfig
    )
    views: Annotated[tuple[View, ...], Field(max_length=64)] = ()
    familiarity: FamiliarityConfig = field(default_factory=FamiliarityConfig)
    mirror: bool = True
    training: dict[str, Any] = field(default_factory=dict)
    sha256: Name = ""
    graph: GraphConfig | None = None
    format: Literal["cilf-4"] = "cilf-4"


_Stored: TypeAdapter[CheckpointConfig | EarlierConfig] = TypeAdapter(
    Annotated[CheckpointConfig | EarlierConfig, Discriminator("format")]
)


def upgraded(config: EarlierConfig) -> CheckpointConfig:
    """A configuration of format cilf-3 in today's: no further views, and the head's own distribution."""
    graph = GraphConfig(**vars(config.graph)) if config.graph else None
    return CheckpointConfig(
        model=config.model,
        ensemble=config.ensemble_config(),
        correction=CorrectionConfig(epsilon=config.correction.epsilon),
        conformal=config.conformal(),
        mirror=config.mirror,
        training=config.training,
        sha256=config.sha256,
        graph=graph,
    )


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint. What is made of its tensors is made when it is first asked for.

    Attributes:
        tensors: single precision, by name: of the network after `model.`, of the error ensemble after `ensemble.`, and
            the photos of `familiarity`.
        config: everything except the tensors.
        source: what was loaded and from where, in words.
        graph, report, card: the network's graph, the evaluation report and the model card that lie beside the weights;
            None, None and "" where they do not.
        untried: the folder of a checkpoint that the package does not know, for `cilf.untrusted.trial`.
    """

    tensors: Mapping[str, np.ndarray]
    config: CheckpointConfig
    source: str
    graph: Graph | None = None
    report: dict[str, Any] | None = None
    card: str = ""
    untried: Path | None = None

    @cached_property
    def model(self) -> "AgeModel":
        """The network in PyTorch, in eval mode on the CPU."""
        from cilf.model.build import filled

        return filled(self.config.model, self._of("model."))

    @cached_property
    def ensemble(self) -> ErrorNetwork:
        """The error model."""
        config = self.config.ensemble
        return GaussianError() if config is None else ErrorEnsemble(config, self._of("ensemble."))

    @cached_property
    def familiarity(self) -> Familiarity:
        """What tells a picture unlike the calibration photos."""
        stored = self.tensors.get("familiarity.reference")
        return Familiarity(self.config.familiarity, *([] if stored is None else [stored]))

    @cached_property
    def text_tower(self) -> TextTower | None:
        """What encodes texts; None where the network has no text tower."""
        config = self.config.model
        return TextTower(config, self.tensors) if isinstance(config, ModelConfig) else None

    def network(self, device: str = "cpu") -> Network:
        """The quickest way to compute the network: its graph on the CPU, PyTorch on other devices and without one.

        PyTorch takes over `model`: it is changed for inference and can be saved no more.

        Raises:
            WeightsError: the graph is none, or of another network.
            UsageError: PyTorch does not have the device.
        """
        if self.graph is None or device != "cpu":
            from cilf.model.runtime import TorchNetwork

            return TorchNetwork(self.model, device, mirror=self.config.mirror)
        return GraphNetwork(self.graph, self.tensors, self.config.model.trunk, self._encode_ages)

    def _encode_ages(self) -> np.ndarray | None:
        return self.text_tower.encode_ages() if self.text_tower else None

    def _of(self, part: str) -> dict[str, np.ndarray]:
        tensors = self.tensors.items()
        return {name.removeprefix(part): value for name, value in tensors if name.startswith(part)}


def save(
    folder: Path,
    model: "AgeModel",
    ensemble: ErrorNetwork,
    config: CheckpointConfig,
    familiarity: Familiarity | None = None,
) -> None:
    """Write weights (fp16) and configuration into `folder`, creating it. An earlier graph there is one no longer."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.astype(np.float16) if value.dtype.kind == "f" else value
        for name, value in tensors_of(model, ensemble, familiarity).items()
    }
    save_file(tensors, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes it for the owner alone, and a wheel keeps the mode
    (folder / GRAPH).unlink(missing_ok=True)
    _write_config(folder, replace(config, sha256=_sha256(folder / WEIGHTS), graph=None))


def tensors_of(
    model: "AgeModel", ensemble: ErrorNetwork, familiarity: Familiarity | None = None
) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint with these parts (`Checkpoint.tensors`)."""
    tensors = {
        f"model.{name}": value.detach().cpu().contiguous().numpy()
        for name, value in model.state_dict().items()
    }
    tensors |= {
        f"ensemble.{name}": np.require(value, requirements="C") for name, value in ensemble.weights.items()
    }
    if familiarity is not None and len(familiarity.reference):
        tensors["familiarity.reference"] = np.require(familiarity.reference, requirements="C")
    return tensors


def add_graph(folder: Path, graph: Graph) -> None:
    """Put the graph of its network into a checkpoint's folder. Raises WeightsError where there is no checkpoint."""
    config = read_config(folder)
    (folder / GRAPH).write_bytes(graph.onnx)
    _write_config(folder, replace(config, graph=GraphConfig(graph.weights, _sha256(folder / GRAPH))))


def _write_config(folder: Path, config: CheckpointConfig) -> None:
    stored = TypeAdapter(CheckpointConfig).dump_python(config, mode="json")
    (folder / CONFIG).write_text(readable_json(stored), encoding="utf-8")


def readable_json(values: dict[str, Any]) -> str:
    """Write JSON values as text, one entry a line, but a list of numbers or words on one line."""
    text = json.dumps(values, indent=1, ensure_ascii=False)
    return re.sub(r"\[[^\[\]{}]*\]", lambda match: re.sub(r"\n\s*", " ", match[0]), text) + "\n"


def load(
    source: str | Path | None = None, *, revision: str | None = None, progress: Progress | None = None
) -> Checkpoint:
    """Load a checkpoint.

    Args:
        source: None for the bundled one, a folder, a name in `BUNDLED`, or `user/repository` on the Hugging Face Hub
            (fetched once, then read from the Hub's cache, also without a network).
        revision: branch, tag or commit of a Hub repository.
        progress: told the bytes downloaded so far and in all; None draws a bar where stderr is a terminal.

    Raises:
        WeightsError: nothing is there, a file is missing, damaged or not a CILF checkpoint, or the Hub cannot be
            reached; or a revision is given for what is not on the Hub.
    """
    if revision is not None and (source is None or source in BUNDLED or Path(source).is_dir()):
        what = "the bundled checkpoint" if source is None or source in BUNDLED else f"the folder '{source}'"
        raise WeightsError(f"{what} has no revision '{revision}'; give one for a Hub repository alone")
    if source is None:
        folder = bundled()
        origin = f"{NAME} (bundled)"
    elif Path(source).is_dir():
        folder = Path(source)
        # Its name alone: visitors of the page and readers of tables learn nothing of this computer.
        origin = f"folder {folder.resolve().name}"
    elif source in BUNDLED:
        folder = bundled(str(source))
        origin = f"{source} (bundled)"
    else:
        folder = _from_hub(str(source), revision, progress)
        origin = f"{source} (Hugging Face Hub{f', {revision}' if revision else ''})"
    config = read_config(folder)
    known = is_bundled(folder)
    if not known:
        from cilf.untrusted.shape_check import require_fit

        require_fit(folder / WEIGHTS, config.model, config.ensemble, config.familiarity)
    tensors = _read_tensors(folder / WEIGHTS, config.sha256)
    if not (known or all(np.isfinite(value).all() for value in tensors.values())):
        raise WeightsError(f"'{folder / WEIGHTS}' holds NaN or infinity; load other weights")
    if config.ensemble is not None and not config.ensemble.explicit:
        tensors = padded(tensors, config.ensemble)
    graph = _read_graph(folder, config)
    if graph and not known:
        check_graph(graph)
    return Checkpoint(
        tensors,
        config,
        origin,
        graph,
        _own_report(folder, config),
        (small_file.read(folder / CARD, MAX_CARD_BYTES) or b"").decode("utf-8", errors="replace"),
        untried=None if known else folder,
    )


def read_config(folder: Path) -> CheckpointConfig:
    """Read and check a checkpoint's configuration. Raises WeightsError."""
    path = folder / CONFIG
    if not path.is_file():
        raise WeightsError(f"'{folder}' holds no {CONFIG}; {ELSEWHERE}")
    refusal = f"'{path}' is not a CILF configuration; {ELSEWHERE}"
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise WeightsError(refusal)
    try:
        content = from_json(path.read_bytes(), allow_inf_nan=False)
    except ValueError as error:
        raise DamagedError(refusal, path) from error
    try:
        stored = _Stored.validate_python(content)
    except ValidationError as error:
        place = ".".join(map(str, error.errors(include_input=False)[0]["loc"]))
        raise WeightsError(refusal.replace(";", f" ('{place[:120]}');", 1) if place else refusal) from error
    config = upgraded(stored) if isinstance(stored, EarlierConfig) else stored
    if family_of(config.model).without_published_weights(config.model) != config.model:
        raise WeightsError(f"'{path}' asks for weights other than its own; {ELSEWHERE}")
    return config


def check(folder: Path) -> CheckpointConfig:
    """Make sure that a checkpoint's files are whole, without building its model; gives its configuration.

    Raises:
        WeightsError: a file is missing or not ours; DamagedError where its content has changed.
    """
    config = read_config(folder)
    _check_sum(folder / WEIGHTS, config.sha256)
    _read_graph(folder, config)
    read_report(folder)
    return config


def _from_hub(name: str, revision: str | None, progress: Progress | None) -> Path:
    """The folder of a whole checkpoint in the Hub's cache. What is damaged there is downloaded once more.

    The Hub's client compares sizes alone: a file that a proxy or a disk has altered would stay in its cache for ever.
    """
    try:
        return _fetch(name, revision, progress)
    except DamagedError as error:
        log.warning("%s: downloading it once more", error)
        folder = error.path.parent
    for file in FILES:
        hub.forget(folder / file)
    try:
        return _fetch(name, folder.name, progress)
    except DamagedError as error:
        raise WeightsError(
            f"'{name}' is damaged on the Hugging Face Hub itself: {error.path.name} is not what its publisher wrote; "
            "choose another revision, or ask for it to be published again"
        ) from error
    except WeightsError as error:
        raise WeightsError(
            f"the copy of '{name}' in the Hub's cache was damaged and is removed; {error}"
        ) from error


def _fetch(name: str, revision: str | None, progress: Progress | None) -> Path:
    # The configuration first and alone: a repository of something else is not worth a long download.
    folder = hub.fetch(name, revision, [CONFIG], progress=lambda done, total: None)
    read_config(folder)
    folder = hub.fetch(name, folder.name, FILES, progress)
    check(folder)
    return folder


def bundled(name: str = NAME) -> Path:
    """The folder of a checkpoint that comes with the package. Raises WeightsError when it is not there."""
    package = Path(__file__).parent
    for folder in (package / "checkpoints" / name, package.parent / "checkpoints" / name):
        if (folder / CONFIG).is_file():
            return folder
    raise WeightsError(
        f"the bundled checkpoint {name!r} is missing from this installation; install the package again"
    )


def is_bundled(folder: Path) -> bool:
    """Whether a checkpoint is one that comes with the package, wherever it lies.

    Its configuration's hash tells: the configuration names those of weights and graph, which are compared when they are
    read.
    """
    return _sha256(folder / CONFIG) in json.loads(PINS.read_text(encoding="utf-8")).values()


def read_report(folder: Path) -> dict[str, Any] | None:
    """A checkpoint's evaluation report, None where there is none. Raises WeightsError when it is damaged."""
    path = folder / REPORT
    content = small_file.read(path, MAX_REPORT_BYTES)
    if content is None:
        return None
    try:
        return dict(from_json(content, allow_inf_nan=False))
    except (ValueError, TypeError) as error:
        raise DamagedError(f"'{path}' is damaged; fetch it again or remove it", path) from error


def _own_report(folder: Path, config: CheckpointConfig) -> dict[str, Any] | None:
    """The report, unless it measures other weights than these, or another graph."""
    report = read_report(folder)
    if report and not is_report_of(report, folder, config):
        log.warning("'%s' measures other weights or another graph; it is left out", folder / REPORT)
        return None
    return report


def is_report_of(report: dict[str, Any], folder: Path, config: CheckpointConfig) -> bool:
    """Whether a report measures exactly these weights, computed by exactly this graph.

    Reports of bundled checkpoints from before they named the graph count: the package knows their graphs.
    """
    graph = config.graph.sha256 if config.graph else None
    unnamed = graph if is_bundled(folder) else None
    return (report.get("weights_sha256"), report.get("graph_sha256", unnamed)) == (config.sha256, graph)


def _check_sum(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise WeightsError(f"'{path}' is missing; {ELSEWHERE}")
    if _sha256(path) != sha256:
        raise DamagedError(f"'{path}' is damaged or of another checkpoint; fetch it again", path)


def _read_tensors(path: Path, sha256: str) -> dict[str, np.ndarray]:
    _check_sum(path, sha256)
    try:
        tensors = load_file(path)
    except (
        SafetensorError,
        OSError,
        KeyError,
        TypeError,
    ) as error:  # the last two: a kind of number without NumPy's
        raise WeightsError(f"'{path}' cannot be read; fetch it again") from error
    return {
        name: value.astype(np.float32) if value.dtype.kind == "f" else value
        for name, value in tensors.items()
    }


def _read_graph(folder: Path, config: CheckpointConfig) -> Graph | None:
    """The graph, unless it was left behind: what it computes PyTorch computes, too."""
    if config.graph is None:
        return None
    if not (folder / GRAPH).is_file():
        log.warning("'%s' is missing; PyTorch computes in its place, more slowly", folder / GRAPH)
        return None
    if (folder / GRAPH).stat().st_size > MAX_GRAPH_BYTES:  # before it is in memory
        raise WeightsError(f"'{folder / GRAPH}' has more than {MAX_GRAPH_BYTES:,} bytes; {ELSEWHERE}")
    _check_sum(folder / GRAPH, config.graph.sha256)
    return Graph((folder / GRAPH).read_bytes(), config.graph.weights)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
