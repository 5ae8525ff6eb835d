"""What follows the trunk, of every system, on one frozen trunk: the same photos, several seeds, `tune`.

The trunk is the one from which all systems start, trained with CILF's age head alone: that favours CILF's head a
little, and none of the graphs. CILF's own parts are fitted by the ablation (`train.studies.ablation`), whose towers
learn from captions first; its rows have seen more photos than the others. What its correction gains is read end to end
alone: the error ensemble is fitted to `held` and `tune` photos.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from cilf.checkpoint import Checkpoint, CheckpointConfig, tensors_of
from cilf.inference.correction import CorrectionConfig
from cilf.inference.error_models import GaussianError
from cilf.model.cilf import build_model
from cilf.model.head import LinearHead
from cilf.model.lra_gnn import LRAGNN, GroupHead
from cilf.model.nodes import GridModel, GridTrunk, as_nodes, laid_over
from train.data.crop_cache import Subset
from train.data.datasets import Sample
from train.files import written_whole
from train.fit import provenance
from train.fit.imagenet_weights import load_imagenet
from train.fit.losses.ages import MixedAges
from train.fit.objective import GridSystem, build_system
from train.fit.optimizer import cosine_rate
from train.fit.precision import autocast
from train.fit.recipe import GridRecipe, read_cilf_recipe, read_recipe
from train.fit.walk import fit_walk_on, has_walk
from train.studies import ablation
from train.studies.ablation import BATCH_SIZE, Row, best_temperature
from train.studies.frozen_features import outputs, photos
from train.studies.side_by_side import side_by_side

log = logging.getLogger(__name__)

CONTROL = "control: trunk and our head"
WALK, REGRESSION, GRAPH_OFF = "LRA-GNN", "LRA-GNN, regression without the walk", "LRA-GNN, graph off"
MASKED, UNMASKED, MCGRL_GRAPH_OFF = "MCGRL", "MCGRL, 0% masked", "MCGRL, graph off"
CILF_FULL = "CILF, without correction"
CILF_RECIPE = "systems/cilf-one-stage"
OWN_PARTS = "CILF, prompts and head without fusion"
NO_START: Any = {"imagenet": False, "trunk_of_start": False}  # of a recipe


@dataclass(frozen=True)
class HeadRow:
    """One system on the frozen trunk.

    Attributes:
        recipe: has its sizes, losses, rate and decay.
        versus: the row that it is compared with; "" for none.
        changed: fields of the network's configuration.
        walked: read where the walk ends, where the network has one; else the age of its regression.
        variant: answers none of the report's questions, and is fitted with fewer seeds.
    """

    recipe: str
    versus: str = CONTROL
    changed: dict[str, Any] = field(default_factory=dict)
    walked: bool = True
    variant: bool = False


ROWS = {
    CONTROL: HeadRow("systems/control", ""),
    REGRESSION: HeadRow("lra-gnn", walked=False),  # of the same fit as the next one
    WALK: HeadRow("lra-gnn", REGRESSION),
    GRAPH_OFF: HeadRow("lra-gnn", REGRESSION, {"head": "regression", "graph": False}),
    "LRA-GNN, all cells as nodes": HeadRow(
        "lra-gnn", REGRESSION, {"head": "regression", "nodes": "all"}, variant=True
    ),
    "LRA-GNN, our head": HeadRow("lra-gnn", CONTROL, {"head": "distribution"}, variant=True),
    MASKED: HeadRow("mcgrl"),
    UNMASKED: HeadRow("mcgrl", MASKED, {"mask": 0.0}),
    **{
        f"MCGRL, {share:.0%} masked": HeadRow("mcgrl", MASKED, {"mask": share}, variant=True)
        for share in (0.15, 0.5, 0.75)
    },
    "MCGRL, images contrasted": HeadRow("mcgrl", MASKED, {"readout": "image"}, variant=True),
    # Without messages nobody can tell what a hidden node showed, so that nothing is hidden.
    MCGRL_GRAPH_OFF: HeadRow("mcgrl", UNMASKED, {"graph": False, "mask": 0.0}),
    "MCGRL, our head": HeadRow("mcgrl", CONTROL, {"head": "distribution"}, variant=True),
}
# Rows of the ablation, and what each is compared with.
CILF_ROWS = {
    OWN_PARTS: (Row(), CONTROL),
    CILF_FULL: (Row("fourier", contrastive=True), OWN_PARTS),
}


@dataclass(frozen=True)
class Grids:
    """Of N photos and their mirror images (axis 0; 0 = as they are), in half precision.

    Attributes:
        fine, coarse: the trunk's grids at strides 16 and 32.
        samples: N labels.
    """

    fine: Float[Tensor, "view photo channel rows columns"]
    coarse: Float[Tensor, "view photo coarse half_rows half_columns"]
    samples: list[Sample]

    @property
    def ages(self) -> Float[Tensor, " photo"]:
        """True ages in years."""
        return torch.tensor([float(sample.age) for sample in self.samples])

    def cells(
        self, view: Int[Tensor, " row"], photo: Int[Tensor, " row"]
    ) -> Float[Tensor, "row node channel"]:
        """The cells of some views."""
        return as_nodes(laid_over(self.fine[view, photo].float(), self.coarse[view, photo].float()))


def extract(trunk: GridTrunk, size: int, parts: dict[str, list[Subset]], folder: Path) -> None:
    """Run the trunk over the crops of each part and store its grids in `folder`, where no earlier call has."""

    def encode(pixels: Tensor) -> tuple[Tensor, Tensor]:
        fine, coarse = trunk.trunk((pixels - trunk.mean) / trunk.std)
        return fine, coarse

    for name, subsets in parts.items():
        outputs(trunk, encode, size, subsets, _file(folder, name))


@cache
def _stored(folder: Path, name: str) -> tuple[Tensor, Tensor]:
    """What `extract` stored of a part, mapped into memory: processes share it."""
    *_, fine, coarse = torch.load(_file(folder, name), weights_only=True, mmap=True)
    return fine, coarse


def _file(folder: Path, part: str) -> Path:
    return folder / f"grids-{part}.pt"


@dataclass(frozen=True)
class Stored:
    """Where `Grids` lie: what another process is told of them."""

    folder: Path
    samples: dict[str, list[Sample]]

    def read(self) -> dict[str, Grids]:
        """The grids of every part."""
        return {name: Grids(*_stored(self.folder, name), samples) for name, samples in self.samples.items()}


@dataclass(frozen=True)
class Run:
    """What one fit gives: (N,) signed errors on `tune` in years, and how many parameters were fitted."""

    errors: Float[np.ndarray, " photo"]
    parameters: int


@dataclass(frozen=True)
class Fit:
    """One fit of what follows the trunk, and the file that keeps what it gives."""

    recipe: GridRecipe
    seed: int
    steps: int
    stored: Path

    def make(self, grids: Stored) -> None:
        """Fit, and store what it gives once it is through."""
        values = _fit(self.recipe, grids.read(), self.seed, self.steps)
        with written_whole(self.stored) as partial:
            torch.save(values, partial)

    def run(self, *, walked: bool) -> Run:
        """What `make` has stored."""
        values = torch.load(self.stored, weights_only=True)
        if walked:
            return Run(values["walked"].numpy(), values["parameters"] + values["walk_parameters"])
        return Run(values["not walked"].numpy(), values["parameters"])


def make_all(fits: Iterable[Fit], grids: Stored, processes: int) -> None:
    """Make the fits that are not stored yet, so many side by side."""
    jobs = {str(fit.stored): partial(fit.make, grids) for fit in fits if not fit.stored.is_file()}
    side_by_side(jobs, processes, "fits")


def _fit(recipe: GridRecipe, grids: dict[str, Grids], seed: int, steps: int) -> dict[str, Any]:
    """Signed errors on `tune` as the network reads them, those before its walk, and how many parameters were fitted."""
    torch.manual_seed(seed)
    system = build_system(recipe)
    assert isinstance(system, GridSystem)
    model, train = system.model, grids["train"]
    fitted = [
        value for name, value in model.named_parameters() if not name.startswith(("grid.", "head.walk."))
    ]
    optimizer = torch.optim.AdamW(fitted, lr=recipe.fit.learning_rate, weight_decay=recipe.fit.weight_decay)
    torch.manual_seed(seed)  # so that rows whose networks differ draw the same dropout
    model.train()
    batches = _batches(len(train.samples), seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(step, steps, recipe.fit.learning_rate, recipe.fit.warmup)
        view, photo = next(batches)
        ages = train.ages[photo]
        optimizer.zero_grad()
        with autocast(torch.device("cpu")):
            losses = recipe.loss.terms(model, train.cells(view, photo), MixedAges(ages, ages))
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(fitted, 5.0)
        optimizer.step()
    model.eval()
    if isinstance(model, LRAGNN) and has_walk(model):
        with torch.no_grad():
            features = torch.cat([model.features(cells) for cells in _cells(train)])
        fit_walk_on(model, features, train.ages, replace(recipe, fit=replace(recipe.fit, seed=seed)))
    walked, walk = _errors(model, grids), None
    if isinstance(model.head, GroupHead):
        walk, model.head.walk = model.head.walk, None
    return {
        "walked": walked,
        "not walked": _errors(model, grids),
        "parameters": sum(value.numel() for value in fitted),
        "walk_parameters": sum(value.numel() for value in walk.parameters()) if walk else 0,
    }


def _recipe(row: HeadRow) -> GridRecipe:
    recipe = read_recipe(row.recipe)
    assert isinstance(recipe, GridRecipe)
    recipe = replace(recipe, fit=replace(recipe.fit, **NO_START))  # its trunk is not used
    return replace(recipe, model=replace(recipe.model, **row.changed))


def _batches(photos: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless shuffled batches: views, each as it is or mirrored, and photos."""
    generator = torch.Generator().manual_seed(seed)
    size = min(BATCH_SIZE, photos)
    while True:
        order = torch.randperm(photos, generator=generator)
        for photo in order[: photos // size * size].view(-1, size):
            yield torch.randint(2, (size,), generator=generator), photo


@torch.no_grad()
def _cells(grids: Grids, mirrored: bool = False, size: int = 256) -> Iterator[Tensor]:
    for photo in torch.arange(len(grids.samples)).split(size):
        yield grids.cells(torch.full_like(photo, int(mirrored)), photo)


@torch.no_grad()
def _errors(model: GridModel, grids: dict[str, Grids]) -> Float[Tensor, " photo"]:
    """Signed errors on `tune`, each photo with its mirror image; CILF's head at the temperature that is best on `held`,
    as in the ablation. It moves no other head's age."""
    tune = grids["tune"]
    age, logits = _estimates(model, tune)
    if isinstance(model.head, LinearHead):
        held = grids["held"]
        temperature = best_temperature(model.head, _estimates(model, held)[1], held.ages.double().numpy())
        age = model.head.summarise(logits / temperature).age
    return (age - tune.ages).double()


def _estimates(model: GridModel, grids: Grids) -> tuple[Tensor, Tensor]:
    """Ages and logits of all photos, each averaged with its mirror image."""
    pairs = zip(_cells(grids), _cells(grids, mirrored=True), strict=True)
    estimates = [model.head.averaged(model.read(torch.cat(pair)).estimate, 2) for pair in pairs]
    age, logits = ([getattr(estimate, name) for estimate in estimates] for name in ("age", "logits"))
    return torch.cat(age), torch.cat(logits)


def fit_rows(
    trunk: GridTrunk,
    size: int,
    parts: dict[str, list[Subset]],
    folder: Path,
    seeds: int,
    variant_seeds: int,
    steps: int,
    processes: int = 1,
) -> tuple[dict[str, list[Run]], dict[str, str], list[Sample]]:
    """Runs of every row but CILF's, one a seed, what each is compared with, and the photos of `tune`."""
    extract(trunk, size, parts, folder)
    grids = Stored(folder, {name: photos(subsets) for name, subsets in parts.items()})
    weights = provenance.weights_sha256(trunk.state_dict())
    fits: dict[str, list[Fit]] = {}
    for name, row in ROWS.items():
        recipe = _recipe(row)
        key = provenance.digest([asdict(recipe), steps, weights])[:12]
        count = min(variant_seeds, seeds) if row.variant else seeds
        fits[name] = [Fit(recipe, seed, steps, folder / f"{key}-{seed}.pt") for seed in range(count)]
    variants_last = sorted(fits, key=lambda name: ROWS[name].variant)
    make_all([fit for name in variants_last for fit in fits[name]], grids, processes)
    runs = {name: [fit.run(walked=ROWS[name].walked) for fit in fits[name]] for name in ROWS}
    for name, row_runs in runs.items():
        log.info("%s: tune MAE %.3f", name, np.mean([np.abs(run.errors).mean() for run in row_runs]))
    return runs, {name: row.versus for name, row in ROWS.items()}, grids.samples["tune"]


def fit_cilf(
    trunk: GridTrunk, parts: dict[str, list[Subset]], folder: Path, seeds: int, steps: int, epochs: int
) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """The same of CILF's parts. Its towers learn from captions for some epochs, all of the trunk but the layer that
    comes after both grids frozen."""
    recipe = read_cilf_recipe(CILF_RECIPE)
    visual = "towers.clip.visual.trunk"
    rates = recipe.fit.rates | {visual: 0.0, f"{visual}.conv_head": 1.0, f"{visual}.bn2": 1.0}
    published = recipe.fit.imagenet
    recipe = replace(recipe, fit=replace(recipe.fit, rates=rates, frozen_statistics=True, **NO_START))
    torch.manual_seed(recipe.fit.seed)
    towers = ablation.towers_recipe(recipe, epochs).model
    model = build_model(towers)
    own = model.towers.clip.visual.trunk
    if published:
        load_imagenet(own, recipe.trunk)  # of the layer after both grids
    own.load_state_dict(own.state_dict() | trunk.trunk.state_dict())
    config = CheckpointConfig(towers, None, CorrectionConfig(epsilon=0.0))
    start = Checkpoint(tensors_of(model, GaussianError()), config, "the trunk")
    folder.mkdir(parents=True, exist_ok=True)
    trained, features = ablation.frozen_towers(recipe, parts, folder, epochs, start)
    rows = {name: row for name, (row, _) in CILF_ROWS.items()}
    table, counts = ablation.fit_rows(recipe, trained, features, folder, rows, seeds, steps)
    runs = {
        name: [Run(errors["tune"].double().numpy(), counts[name]) for errors in all_errors]
        for name, all_errors in table.items()
    }
    return runs, {name: other for name, (_, other) in CILF_ROWS.items()}
