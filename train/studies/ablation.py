"""Which part of the method pays? Each part is added in turn, on top of one and the same frozen pair of towers.

The towers learn from captions alone (the contrastive loss on the image tower's own embedding, no age head, no fusion),
so that they favour none of the parts. What comes after them is then fitted on their stored outputs: several seeds,
equal steps, mirror images included. `tune` decides about a recipe; `test` is reported too.

The captions were made from the labels, so "prompt-only" is not zero-shot: these towers have seen ages as words.
"""

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import trange

from cilf.checkpoint import Checkpoint
from cilf.inference.error_models import EnsembleConfig
from cilf.model.cilf import CILF, build_model
from cilf.model.head import AgeEstimate, CategoricalHead
from train.calibrate.calibrate import Described
from train.calibrate.error_ensemble import (
    Fold,
    choose_correction,
    corrected,
    cross_fit,
    fit_ensemble,
    fit_predictive,
    fold_of,
    levels,
    with_levels,
)
from train.calibrate.predictions import MIRRORED, ViewOutputs, join
from train.data.captions import agreement, caption
from train.data.crop_cache import Subset
from train.data.datasets import Sample
from train.files import written_whole
from train.fit import provenance
from train.fit.loop import averaged_model, fit
from train.fit.losses.cilf import LossConfig, Texts, label_distribution, total_loss
from train.fit.optimizer import cosine_rate
from train.fit.precision import autocast
from train.fit.recipe import Recipe
from train.metrics import mean_absolute_error
from train.studies.block_variants import Mixer, exchange
from train.studies.frozen_features import Features, extract
from train.studies.texts.prompt_families import ENSEMBLE, FAMILIES, texts

log = logging.getLogger(__name__)

BATCH_SIZE = 32
TEMPERATURES = np.round(np.geomspace(0.2, 5, 33), 3)


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        mixer: what mixes the tokens of the fusion; None leaves fusion and context-aware prompting out.
        shares: the grid's cells also change the image embedding, not the age prompts alone.
        contrastive: the image-text loss on the fused embedding is on.
        held: also fitted on the photos that are kept for the error ensemble.
        family: the age prompts are this family's (`train.studies.texts.prompt_families`), unchanged, instead of the
            learned ones.
        versus: the row that it is compared with.
    """

    mixer: Mixer | None = None
    shares: bool = True
    contrastive: bool = False
    held: bool = False
    family: str | None = None
    versus: str = ""


PROMPT_ONLY, CORRECTED = "prompt-only", "+ correction"
FULL = "+ contrastive loss"
ROWS = {
    "+ trained prompts and head": Row(versus=PROMPT_ONLY),
    "+ context-aware prompting": Row("mean", shares=False, versus="+ trained prompts and head"),
    "+ fusion without a block": Row("mean", versus="+ context-aware prompting"),
    "+ convolution block": Row("convolution", versus="+ fusion without a block"),
    "+ attention block": Row("attention", versus="+ fusion without a block"),
    "+ FourierFormer": Row("fourier", versus="+ fusion without a block"),
    FULL: Row("fourier", contrastive=True, versus="+ FourierFormer"),
    "full, also fitted on held": Row("fourier", contrastive=True, held=True, versus=FULL),
}


def towers_recipe(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe that trains the towers alone, by the contrastive loss on the image tower's own embedding."""
    parts = dict.fromkeys(("fusion", "prompting", "prompts", "head", "towers.grid_projection"), 0.0)
    return replace(
        recipe,
        model=replace(recipe.model, fusion=replace(recipe.model.fusion, image_blocks=0, fusion_blocks=0)),
        loss=LossConfig(
            distribution=0.0,
            l1=0.0,
            score_map=0.0,
            contrastive=1.0,
            contrastive_sigma=recipe.loss.contrastive_sigma,
        ),
        fit=replace(recipe.fit, epochs=epochs, rates=recipe.fit.rates | parts),
    )


def frozen_towers(
    recipe: Recipe,
    parts: dict[str, list[Subset]],
    folder: Path,
    epochs: int,
    start: Checkpoint | None = None,
    groups: Mapping[str, str] | None = None,
) -> tuple[CILF, dict[str, Features]]:
    """The model whose towers alone are trained, from the weights of `start` where there is one, and their outputs for
    each part of the photos; `groups` are those of near-duplicates by file name."""
    towers = towers_recipe(recipe, epochs)
    fit(towers, parts["train"], parts["tune"][0], folder / "towers", resume=True, start=start)
    trained, _ = averaged_model(towers, folder / "towers")
    assert isinstance(trained, CILF)  # of a recipe of CILF
    return trained, {
        name: extract(trained, subsets, folder / f"features-{name}.pt", groups or {})
        for name, subsets in parts.items()
    }


def ablate(
    recipe: Recipe,
    trained: CILF,
    features: dict[str, Features],
    folder: Path,
    *,
    seeds: int = 5,
    steps: int = 300,
) -> dict[str, Any]:
    """Fit every row with every seed and compare. What is done already is read from `folder`."""
    templates = recipe.model.prompts.templates
    plain = mean_text(trained, lambda age: [template.format(age=age) for template in templates])
    table, counts = fit_rows(recipe, trained, features, folder, ROWS, seeds, steps)
    table = {PROMPT_ONLY: [prompt_only(trained, plain, features)]} | table
    counts[PROMPT_ONLY] = 0
    versus = {name: row.versus for name, row in ROWS.items()} | {CORRECTED: FULL}
    return {
        "steps": steps,
        "batch_size": BATCH_SIZE,
        "seeds": seeds,
        "rows": [summary(name, table, counts.get(name, counts[FULL]), versus.get(name)) for name in table],
    }


Errors = dict[str, Tensor]
"""Part of the photos → signed errors in years."""


def fit_rows(
    recipe: Recipe,
    trained: CILF,
    features: dict[str, Features],
    folder: Path,
    rows: Mapping[str, Row],
    seeds: int,
    steps: int,
) -> tuple[dict[str, list[Errors]], dict[str, int]]:
    """Errors of every row, one entry a seed, and how many parameters were fitted; `CORRECTED` follows `FULL`."""
    table: dict[str, list[Errors]] = {}
    counts: dict[str, int] = {}
    for name, row in rows.items():
        for seed in range(seeds):
            run = fit_row(recipe, trained, name, row, features, folder, seed, steps)
            counts[name] = run["parameters"]
            table.setdefault(name, []).append(run["errors"])
            if "corrected" in run:
                table.setdefault(CORRECTED, []).append(run["corrected"])
    return table, counts


def measured(features: Mapping[str, Any]) -> list[str]:
    """The parts on which errors are measured: validation photos, and test photos where they are given."""
    return [part for part in ("tune", "test") if part in features]


def prompt_only(
    model: CILF, text: Float[Tensor, "age embed"], features: dict[str, Features]
) -> dict[str, Tensor]:
    """Errors (years) on the measured parts of fixed age prompts against the image tower's own embedding."""
    with torch.inference_mode():
        logits = {
            part: model.scale * F.normalize(features[part].image, dim=-1).mean(dim=0) @ text.T
            for part in ("held", *measured(features))
        }
    return _errors(model, logits, features)


@torch.no_grad()
def mean_text(model: CILF, prompts: Callable[[int], Sequence[str]]) -> Float[Tensor, "age embed"]:
    """Mean unit text embedding of each age's prompts, for the ages from 0 to 100, unit length."""
    texts_of_age = [list(prompts(age)) for age in range(101)]
    encoded = model.towers.encode_text([text for each in texts_of_age for text in each])
    means = [rows.mean(dim=0) for rows in encoded.split(list(map(len, texts_of_age)))]
    return F.normalize(torch.stack(means), dim=-1)


def fit_row(
    recipe: Recipe,
    trained: CILF,
    name: str,
    row: Row,
    features: dict[str, Features],
    folder: Path,
    seed: int,
    steps: int,
) -> dict[str, Any]:
    """Fit one row with one seed, or read what an earlier call stored: number of fitted parameters and signed errors
    (years) on tune and test."""
    wording = [texts(row.family, age) for age in range(101)] if row.family else []
    tower = provenance.weights_sha256(trained.state_dict())
    made_of = provenance.digest([asdict(recipe), steps, tower, wording])[:8]
    stored = folder / f"{_slug(name)}-{made_of}-{seed}.pt"
    if not stored.is_file():
        values = _fit(recipe, trained, row, features, seed, steps, name == FULL)
        with written_whole(stored) as partial_file:
            torch.save(values, partial_file)
    run: dict[str, Any] = torch.load(stored, weights_only=True)
    log.info("%s, seed %d: tune MAE %.3f", name, seed, run["errors"]["tune"].abs().mean())
    return run


def _fit(
    recipe: Recipe,
    trained: CILF,
    row: Row,
    features: dict[str, Features],
    seed: int,
    steps: int,
    corrected: bool,
) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = build_model(recipe.model)
    towers = {key: value for key, value in trained.state_dict().items() if key.startswith("towers.")}
    model.load_state_dict(towers, strict=False)
    trainable = _prepare(model, row)
    data = [features["train"]] + [features["held"]] * row.held
    optimizer = torch.optim.AdamW(
        trainable, lr=recipe.fit.learning_rate, weight_decay=recipe.fit.weight_decay
    )
    fixed = mean_text(model, partial(texts, row.family)) if row.family else None
    prompts = _Prompts(model, fixed)
    bar = trange(steps, desc=f"{row.mixer or 'head'}, seed {seed}", unit="step", leave=False)
    with sdpa_kernel(SDPBackend.MATH):
        for step, batch in zip(bar, _batches(data, BATCH_SIZE, seed), strict=False):
            for group in optimizer.param_groups:
                group["lr"] = cosine_rate(step, steps, recipe.fit.learning_rate, recipe.fit.warmup)
            loss = _loss(model, row, batch, recipe, random.Random(f"{seed}/{step}"), prompts)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(trainable, 5.0)
            optimizer.step()
    parts = ["held", *measured(features)]
    described = {part: _describe(model, row, features[part], fixed) for part in parts}
    logits = {part: views[0].estimate.logits for part, views in described.items()}
    run: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in trainable),
        "errors": _errors(model, logits, features),
    }
    if corrected:
        run["corrected"] = _corrected(model, described, features, seed)
    return run


def _prepare(model: CILF, row: Row) -> list[nn.Parameter]:
    """Freeze the towers and what the row leaves out; exchange the blocks. Gives the parameters to fit."""
    exchange(model.fusion, row.mixer or "mean")
    for parameter in model.towers.parameters():
        parameter.requires_grad_(False)
    if row.mixer is None:
        fitted = [*model.prompts.parameters(), *model.head.parameters()]
    else:
        model.fusion.grid_out.weight.requires_grad_(row.shares)
        if not row.shares:
            nn.init.zeros_(model.fusion.grid_out.weight)
        model.towers.grid_projection.requires_grad_(True)
        fitted = list(model.parameters())
    if row.family:
        model.prompts.requires_grad_(False)
    if row.contrastive:
        model.towers.clip.logit_scale.requires_grad_(True)
    return [parameter for parameter in fitted if parameter.requires_grad]


@dataclass(frozen=True)
class _Batch:
    image: Float[Tensor, "row embed"]
    grid: Float[Tensor, "row channel rows columns"]
    samples: list[Any]


def _batches(data: list[Features], size: int, seed: int) -> Iterator[_Batch]:
    """Endless shuffled batches over all photos, each time as it is or mirrored."""
    generator = torch.Generator().manual_seed(seed)
    places = [(part, photo) for part, features in enumerate(data) for photo in range(len(features.samples))]
    size = min(size, len(places))
    while True:
        order = torch.randperm(len(places), generator=generator)
        for chosen in order[: len(order) // size * size].view(-1, size).tolist():
            view = torch.randint(2, (size,), generator=generator)
            images, grids, samples = [], [], []
            for part, features in enumerate(data):
                at = [index for index, place in enumerate(chosen) if places[place][0] == part]
                photo = torch.tensor([places[chosen[index]][1] for index in at], dtype=torch.long)
                image, grid = features.batch(view[at], photo)
                images.append(image)
                grids.append(grid)
                samples += [features.samples[index] for index in photo.tolist()]
            yield _Batch(torch.cat(images), torch.cat(grids), samples)


class _Prompts:
    """The age prompts at a step, as `CILF.encode_ages` gives them. The towers are frozen, so the template pool's part
    is computed once."""

    def __init__(self, model: CILF, fixed: Tensor | None) -> None:
        self._model = model
        self._fixed = fixed
        with torch.no_grad():
            self._pool = [
                model.prompts.pooled(model.towers, index)
                for index in range(len(model.prompts.config.templates))
            ]

    def draw(self, chance: random.Random) -> Float[Tensor, "age embed"]:
        """With one template drawn from the pool, as in training; a family's prompts are always the same."""
        if self._fixed is not None:
            return self._fixed
        learned = self._model.prompts.learned(self._model.towers)
        return F.normalize(learned + chance.choice(self._pool), dim=-1)


def _loss(
    model: CILF, row: Row, batch: _Batch, recipe: Recipe, chance: random.Random, prompts: _Prompts
) -> Tensor:
    age = torch.tensor([float(sample.age) for sample in batch.samples])
    target = label_distribution(age, recipe.loss.sigma, recipe.model.prompts.num_ages)
    with autocast(torch.device("cpu")):
        age_text = prompts.draw(chance)
    if row.mixer is None:
        estimate = _without_fusion(model, batch.image, age_text)
        divergence = F.kl_div(estimate.logits.log_softmax(dim=1), target, reduction="batchmean")
        return divergence + recipe.loss.l1 * (estimate.age - age).abs().mean() / 10
    captions = [caption(sample, None, chance) for sample in batch.samples]
    matches = agreement(batch.samples, None, captions, recipe.loss.contrastive_sigma).truth
    config = recipe.loss if row.contrastive else replace(recipe.loss, contrastive=0.0)
    with autocast(torch.device("cpu")):
        prediction = model.fuse(batch.image, model.towers.project_grid(batch.grid), age_text)
        text = model.towers.encode_text([item.text for item in captions]) if row.contrastive else age_text
    if not row.contrastive:
        matches = torch.ones(len(age), len(text))  # of no weight
    return total_loss(prediction, age, target, Texts(text, model.scale, matches), config)["loss"]


def _without_fusion(
    model: CILF, image: Float[Tensor, "row embed"], age_text: Float[Tensor, "age embed"]
) -> AgeEstimate:
    return model.head(F.normalize(image, dim=-1), age_text.expand(len(image), -1, -1))


@torch.inference_mode()
def _describe(
    model: CILF, row: Row, features: Features, fixed: Tensor | None, size: int = 128
) -> list[Described]:
    """The photos with both views averaged, as they are, and mirrored."""
    age_text = model.encode_ages() if fixed is None else fixed
    count, views = len(features.samples), []
    for view in (0, 1):
        embeddings, logits = [], []
        for start in range(0, count, size):
            photo = torch.arange(start, min(start + size, count))
            image, grid = features.batch(torch.full_like(photo, view), photo)
            if row.mixer is None:
                embeddings.append(F.normalize(image, dim=-1))
                logits.append(_without_fusion(model, image, age_text).logits)
            else:
                prediction = model.fuse(image, model.towers.project_grid(grid), age_text)
                embeddings.append(prediction.embedding)
                logits.append(prediction.estimate.logits)
        views.append((torch.cat(embeddings), torch.cat(logits)))
    (plain, plain_logits), (mirrored, mirrored_logits) = views
    averaged = (F.normalize(plain + mirrored, dim=-1), (plain_logits + mirrored_logits) / 2)
    truth = torch.from_numpy(features.truth).float()
    return [
        Described(embedding.clone(), model.head.summarise(logits.clone()), truth)
        for embedding, logits in (averaged, *views)
    ]


def best_temperature(head: CategoricalHead, logits: Tensor, truth: np.ndarray) -> float:
    """The temperature whose expectations have the smallest mean error."""
    errors = [
        mean_absolute_error(truth, head.summarise(logits / float(t)).age.double().numpy())
        for t in TEMPERATURES
    ]
    return float(TEMPERATURES[int(np.argmin(errors))])


def _errors(model: CILF, logits: dict[str, Tensor], features: dict[str, Features]) -> dict[str, Tensor]:
    """Signed errors in years on the measured parts, at the temperature that is best on held."""
    temperature = best_temperature(model.head, logits["held"], features["held"].truth)
    ages = {part: model.head.summarise(logits[part] / temperature).age for part in measured(features)}
    return {
        part: (age - torch.from_numpy(features[part].truth).float()).clone() for part, age in ages.items()
    }


def _corrected(
    model: CILF, described: dict[str, list[Described]], features: dict[str, Features], seed: int
) -> dict[str, Tensor]:
    """Errors on tune and test after correction, whose further view is the mirror image. Rule and ensembles are fitted
    to held and tune photos; a tune photo is corrected by the ensemble that was fitted without its group."""
    outputs = {name: _outputs(features[name].samples, views) for name, views in described.items()}
    known = join([outputs["held"], outputs["tune"]])
    predictive, config = fit_predictive(known), EnsembleConfig(embed_dim=known.embedding.shape[2])
    groups = [*features["held"].groups, *features["tune"].groups]
    folds = cross_fit(config, known, fold_of(groups), predictive)
    config = replace(config, levels=levels(folds, predictive))
    folds = [replace(fold, errors=with_levels(fold.errors, config.levels)) for fold in folds]
    rule, _ = choose_correction(folds, known, predictive)
    ensemble = with_levels(
        fit_ensemble(config, known.states(predictive), known.truth, seed=seed), config.levels
    )
    after_held = len(outputs["held"].names)
    ages = {"tune": corrected(folds, rule, predictive).age[after_held:]}
    if "test" in outputs:
        everyone = [Fold(np.arange(len(outputs["test"].names)), outputs["test"], ensemble)]
        ages["test"] = corrected(everyone, rule, predictive).age
    return {name: torch.from_numpy(age - outputs[name].truth) for name, age in ages.items()}


def _outputs(samples: Sequence[Sample], views: list[Described]) -> ViewOutputs:
    """Photos as they are and mirrored, which stand second and third."""
    pair = views[1:]

    def stacked(values: list[Tensor]) -> np.ndarray:
        return torch.stack(values, dim=1).numpy()

    truth = pair[0].truth.numpy()
    logits = stacked([view.estimate.logits for view in pair])
    return ViewOutputs(
        names=tuple(sample.name for sample in samples),
        truth=truth,
        detected=np.ones(len(truth), dtype=bool),
        embedding=stacked([view.embedding for view in pair]),
        logits=logits,
        age=stacked([view.estimate.age for view in pair]),
        spread=stacked([view.estimate.spread for view in pair]),
        parts=logits[:, :, None],
        views=(MIRRORED,),
    )


def summary(
    name: str, table: dict[str, list[dict[str, Tensor]]], parameters: int, versus: str | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "parameters": parameters}
    for part in measured(table[name][0]):
        errors = _stack(table[name], part)
        means = errors.mean(axis=1)
        row[part] = {
            "mae": float(means.mean()),
            "sd_over_seeds": float(means.std(ddof=1)) if len(means) > 1 else 0.0,
            "cs5": float((errors <= 5).mean()),
        }
        if versus:
            row[part]["gain"] = paired_gain(_stack(table[versus], part), errors)
    return row | ({"versus": versus} if versus else {})


def _stack(runs: list[dict[str, Tensor]], part: str) -> Float[np.ndarray, "seed photo"]:
    return np.stack([run[part].abs().double().numpy() for run in runs])


def paired_gain(
    before: Float[np.ndarray, "_ photo"],
    after: Float[np.ndarray, "seed photo"],
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
) -> dict[str, float]:
    """Mean fall of the absolute error in years, and its 95 % range over resampled photos and seeds.

    The photos are the same on both sides, and so are the seeds: a seed is the same order of batches. A side of one run,
    which no seed changed, stands against all runs of the other. Where `groups` names a group for each photo, whole
    groups are drawn.
    """
    generator = np.random.default_rng(0)
    gains = before - after
    place = np.arange(gains.shape[1]) if groups is None else np.unique(groups, return_inverse=True)[1]
    size = np.bincount(place)
    sums = np.stack([np.bincount(place, weights=row) for row in gains])
    means = []
    for _ in range(resamples):
        group = generator.integers(len(size), size=len(size))
        seed = generator.integers(len(gains), size=len(gains))
        means.append(sums[seed].mean(axis=0)[group].sum() / size[group].sum())
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(before.mean() - after.mean()), "low": float(low), "high": float(high)}


def compare_prompts(
    recipe: Recipe,
    trained: CILF,
    features: dict[str, Features],
    folder: Path,
    *,
    seeds: int = 1,
    steps: int = 300,
) -> dict[str, Any]:
    """Every family of age prompts: as it is, and with fusion and head fitted to it
    (`train.studies.texts.prompt_families`)."""
    rows = []
    for family in (*FAMILIES, ENSEMBLE):
        alone = {family: [prompt_only(trained, mean_text(trained, partial(texts, family)), features)]}
        row = Row("fourier", family=family)
        fitted = [
            fit_row(recipe, trained, f"prompts {family}", row, features, folder, seed, steps)
            for seed in range(seeds)
        ]
        runs = [run["errors"] for run in fitted]
        rows.append(
            {
                "name": family,
                "examples": texts(family, 34)[:3],
                "prompt_only": summary(family, alone, 0, None),
                "trained": summary(family, {family: runs}, fitted[0]["parameters"], None),
            }
        )
    return {"steps": steps, "seeds": seeds, "rows": rows}


def prompt_table(report: dict[str, Any]) -> str:
    """The families as a Markdown table."""
    lines = [
        "| family | at 34 years | prompt-only MAE, tune | test | trained MAE, tune | test |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        alone, fitted = row["prompt_only"], row["trained"]
        lines.append(
            f"| {row['name']} | {'; '.join(row['examples'])} | {alone['tune']['mae']:.2f} | {alone['test']['mae']:.2f} "
            f"| {fitted['tune']['mae']:.2f} ± {fitted['tune']['sd_over_seeds']:.2f} "
            f"| {fitted['test']['mae']:.2f} ± {fitted['test']['sd_over_seeds']:.2f} |"
        )
    return "\n".join(lines)


def table(report: dict[str, Any]) -> str:
    """The ablation as a Markdown table."""
    lines = [
        "| | fitted parameters | tune MAE | test MAE | test CS@5 | against | gain on test, years (95 % range) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        tune, test = row["tune"], row["test"]
        gain = test.get("gain")
        written = f"{gain['mean']:+.2f} ({gain['low']:+.2f} to {gain['high']:+.2f})" if gain else ""
        lines.append(
            f"| {row['name']} | {row['parameters']:,} | {tune['mae']:.2f} ± {tune['sd_over_seeds']:.2f} "
            f"| {test['mae']:.2f} ± {test['sd_over_seeds']:.2f} | {test['cs5']:.1%} "
            f"| {row.get('versus', '')} | {written} |"
        )
    return "\n".join(lines)


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
