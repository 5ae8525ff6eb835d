"""What follows the trunk, of every system, on one frozen trunk: equal steps, the same photos, several seeds, `tune`.

The trunk is the control's, trained with CILF's age head alone: that favours CILF's head a little, and none of the
graphs. CILF's own parts are fitted by the ablation (`train.studies.ablation`), whose text tower learns from captions
first.
"""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm import trange

from cilf.checkpoint import Checkpoint, CheckpointConfig, tensors_of
from cilf.inference.correction import CorrectionConfig
from cilf.inference.error_models import GaussianError
from cilf.model.cilf import build_model
from cilf.model.head import LinearHead
from cilf.model.lra_gnn import LRAGNN
from cilf.model.nodes import GridModel, GridTrunk, as_nodes, laid_over
from train.data.crop_cache import Subset
from train.data.datasets import Sample
from train.fit import provenance
from train.fit.losses.ages import MixedAges
from train.fit.objective import GridSystem, build_system
from train.fit.optimizer import cosine_rate
from train.fit.recipe import GridRecipe, read_cilf_recipe, read_recipe
from train.fit.walk import fit_walk_on
from train.studies import ablation
from train.studies.ablation import BATCH_SIZE, CORRECTED, FULL, Row, best_temperature
from train.studies.frozen_features import outputs, photos

log = logging.getLogger(__name__)

CONTROL = "control: trunk and our head"
REGRESSION, MASKED = "LRA-GNN, regression without the walk", "MCGRL"
CILF_RECIPE = "systems/cilf-one-stage"
OWN_PARTS = "CILF, prompts and head without fusion"


@dataclass(frozen=True)
class HeadRow:
    """One system on the frozen trunk.

    Attributes:
        recipe: has its sizes, losses, rate and decay.
        versus: the row that it is compared with; "" for none.
        changed: fields of the network's configuration.
    """

    recipe: str
    versus: str = CONTROL
    changed: dict[str, Any] = field(default_factory=dict)


ROWS = {
    CONTROL: HeadRow("systems/control", ""),
    REGRESSION: HeadRow("lra-gnn", CONTROL, {"head": "regression"}),
    "LRA-GNN": HeadRow("lra-gnn", REGRESSION),
    "LRA-GNN, graph off": HeadRow("lra-gnn", REGRESSION, {"head": "regression", "graph": False}),
    "LRA-GNN, all cells as nodes": HeadRow("lra-gnn", REGRESSION, {"head": "regression", "nodes": "all"}),
    "LRA-GNN, our head": HeadRow("lra-gnn", CONTROL, {"head": "distribution"}),
    MASKED: HeadRow("mcgrl"),
    **{
        f"MCGRL, {share:.0%} masked": HeadRow("mcgrl", MASKED, {"mask": share})
        for share in (0, 0.15, 0.5, 0.75)
    },
    "MCGRL, images contrasted": HeadRow("mcgrl", MASKED, {"readout": "image"}),
    "MCGRL, graph off": HeadRow("mcgrl", MASKED, {"graph": False}),
    "MCGRL, our head": HeadRow("mcgrl", CONTROL, {"head": "distribution"}),
}
# Of the ablation's rows, by the names that they have here.
CILF_ROWS = {
    OWN_PARTS: (Row(), CONTROL),
    FULL: (Row("fourier", contrastive=True), OWN_PARTS),
}
CILF_NAMES = {FULL: "CILF, without correction", CORRECTED: "CILF"}


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


def extract(trunk: GridTrunk, size: int, parts: dict[str, list[Subset]], folder: Path) -> dict[str, Grids]:
    """Run the trunk over the crops of each part, or read what an earlier call stored in `folder`."""

    def encode(pixels: Tensor) -> tuple[Tensor, Tensor]:
        fine, coarse = trunk.trunk((pixels - trunk.mean) / trunk.std)
        return fine, coarse

    return {
        name: Grids(*outputs(trunk, encode, size, subsets, folder / f"grids-{name}.pt"), photos(subsets))
        for name, subsets in parts.items()
    }


@dataclass(frozen=True)
class Run:
    """What one fit gives: (N,) signed errors on `tune` in years, and how many parameters were fitted."""

    errors: Float[np.ndarray, " photo"]
    parameters: int


def fit_row(row: HeadRow, grids: dict[str, Grids], seed: int, steps: int, stored: Path) -> Run:
    """Fit one system with one seed, or read what an earlier call stored."""
    if not stored.is_file():
        run = _fit(row, grids, seed, steps)
        torch.save({"errors": torch.from_numpy(run.errors), "parameters": run.parameters}, stored)
    values = torch.load(stored, weights_only=True)
    return Run(values["errors"].numpy(), values["parameters"])


def _fit(row: HeadRow, grids: dict[str, Grids], seed: int, steps: int) -> Run:
    recipe = _recipe(row)
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
    for step in trange(steps, desc=f"{recipe.model.kind}, seed {seed}", unit="step", leave=False):
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(step, steps, recipe.fit.learning_rate, recipe.fit.warmup)
        view, photo = next(batches)
        ages = train.ages[photo]
        optimizer.zero_grad()
        system.loss(model, train.cells(view, photo), MixedAges(ages, ages), recipe.loss)["loss"].backward()
        nn.utils.clip_grad_norm_(fitted, 5.0)
        optimizer.step()
    model.eval()
    if isinstance(model, LRAGNN):
        with torch.no_grad():
            features = torch.cat([model.features(cells) for cells in _cells(train)])
        fit_walk_on(model, features, train.ages, recipe)
    return Run(_errors(model, grids["tune"]), sum(value.numel() for value in fitted))


def _recipe(row: HeadRow) -> GridRecipe:
    recipe = read_recipe(row.recipe)
    assert isinstance(recipe, GridRecipe)
    recipe = replace(recipe, fit=replace(recipe.fit, imagenet=False))  # its trunk is not used
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
def _errors(model: GridModel, grids: Grids) -> Float[np.ndarray, " photo"]:
    """Signed errors, each photo with its mirror image; CILF's head at the temperature that is best on these photos, as
    in the ablation: one number of thousands of photos. It moves no other head's age."""
    pairs = zip(_cells(grids), _cells(grids, mirrored=True), strict=True)
    estimates = [model.head.averaged(model.read(torch.cat(pair)).estimate, 2) for pair in pairs]
    age = torch.cat([estimate.age for estimate in estimates])
    if isinstance(model.head, LinearHead):
        logits, truth = torch.cat([estimate.logits for estimate in estimates]), grids.ages.double().numpy()
        age = model.head.summarise(logits / best_temperature(model.head, logits, truth)).age
    return (age - grids.ages).double().numpy()


def fit_rows(
    trunk: GridTrunk, size: int, parts: dict[str, list[Subset]], folder: Path, seeds: int, steps: int
) -> tuple[dict[str, list[Run]], dict[str, str], list[Sample]]:
    """Runs of every row but CILF's, what each is compared with, and the photos of `tune`."""
    grids = extract(trunk, size, {name: parts[name] for name in ("train", "tune")}, folder)
    weights = provenance.weights_sha256(trunk.state_dict())
    runs: dict[str, list[Run]] = {}
    for name, row in ROWS.items():
        recipe = _recipe(row)
        key = provenance.digest([asdict(recipe), steps, weights])[:12]
        runs[name] = [fit_row(row, grids, seed, steps, folder / f"{key}-{seed}.pt") for seed in range(seeds)]
        log.info("%s: tune MAE %.3f", name, np.mean([np.abs(run.errors).mean() for run in runs[name]]))
    return runs, {name: row.versus for name, row in ROWS.items()}, grids["tune"].samples


def fit_cilf(
    trunk: GridTrunk, parts: dict[str, list[Subset]], folder: Path, seeds: int, steps: int, epochs: int
) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """The same of CILF's parts. Its towers learn from captions for some epochs, all of the trunk but the layer that
    comes after both grids frozen."""
    recipe = read_cilf_recipe(CILF_RECIPE)
    visual = "towers.clip.visual.trunk"
    rates = recipe.fit.rates | {visual: 0.0, f"{visual}.conv_head": 1.0, f"{visual}.bn2": 1.0}
    recipe = replace(recipe, fit=replace(recipe.fit, rates=rates, frozen_statistics=True, imagenet=False))
    torch.manual_seed(recipe.fit.seed)
    towers = ablation.towers_recipe(recipe, epochs).model
    model = build_model(towers)
    own = model.towers.clip.visual.trunk
    own.load_state_dict(own.state_dict() | trunk.trunk.state_dict())
    config = CheckpointConfig(towers, None, CorrectionConfig(epsilon=0.0))
    start = Checkpoint(tensors_of(model, GaussianError()), config, "the control's trunk")
    folder.mkdir(parents=True, exist_ok=True)
    trained, features = ablation.frozen_towers(recipe, parts, folder, epochs, start)
    rows = {name: row for name, (row, _) in CILF_ROWS.items()}
    table, counts = ablation.fit_rows(recipe, trained, features, folder, rows, seeds, steps)
    runs = {
        CILF_NAMES.get(name, name): [
            Run(errors["tune"].double().numpy(), counts.get(name, counts[FULL])) for errors in all_errors
        ]
        for name, all_errors in table.items()
    }
    versus = {CILF_NAMES.get(name, name): other for name, (_, other) in CILF_ROWS.items()}
    return runs, versus | {CILF_NAMES[CORRECTED]: CILF_NAMES[FULL]}
