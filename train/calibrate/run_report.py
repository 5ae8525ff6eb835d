"""The page at the end of a run: one HTML file that holds all it shows, for looking at, not for publishing.

It shows faces of the data set, so it lies in the run's folder, which git ignores, and says so at its top.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from cilf.conformal import ConformalConfig
from cilf.model.base import AgeModel
from train.calibrate.calibrate import Calibrated, describe
from train.calibrate.intervals import covered
from train.data.crop_cache import Subset
from train.fit import provenance
from train.fit.logger import SAMPLES, read_log
from train.metrics import cumulative_score, mean_absolute_error

PAGE = "report.html"
WARNING = "Do not publish: contains pictures of the data set."
# Promised shares of the reliability diagram.
LEVELS = tuple(round(0.5 + 0.05 * index, 2) for index in range(10))
TOLERANCES = np.arange(0, 16)  # years, of the CS curve
WORST = 20

Ages = Float[np.ndarray, " photo"]

HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
.warning {{ background: #fde8e8; border-left: 4px solid #b00020; padding: .6rem 1rem; font-weight: 600 }}
figure {{ display: inline-block; margin: .4rem; vertical-align: top; text-align: center; font-size: 12px }}
table {{ border-collapse: collapse }} td {{ padding: .15rem .8rem .15rem 0; vertical-align: top }}
img {{ max-width: 100% }} code {{ font-size: 12px; word-break: break-all }}
</style></head><body><h1>{title}</h1><p class="warning">{warning}</p>
"""


@dataclass(frozen=True)
class Shown:
    """What a model says of N photos of a crop cache, in years.

    Attributes:
        subset: the photos.
        age: final estimates.
        shares: promised share → (N,) whether the interval that promises it holds the true age.
        promise: whose intervals these are, in words.
    """

    subset: Subset
    age: Ages
    shares: Mapping[float, np.ndarray]
    promise: str

    @property
    def truth(self) -> Ages:
        """True ages."""
        return np.array([float(self.subset.cache.samples[row].age) for row in self.subset.rows])


def after_fit(model: AgeModel, tune: Subset, folder: Path) -> Path:
    """The page of a run that has just ended; its intervals are those of the age head's own distribution."""
    described = describe(model.cpu(), tune, mirror=False)
    truth, age = described.truth.numpy(), described.estimate.age.numpy()
    shares = central_shares(described.estimate.probabilities.numpy(), truth)
    return write_page(folder, Shown(tune, age, shares, "of the predicted distribution"))


def after_calibration(calibrated: Calibrated, tune: Subset, folder: Path) -> Path:
    """The page once more, of the checkpoint made from the run: corrected ages, each by an ensemble that was fitted
    without it, and conformal intervals, whose quantiles are taken on `cal` at each level and tried on `tune`."""
    forecasts, conformal = calibrated.chosen_on, calibrated.config.conformal
    assert isinstance(conformal, ConformalConfig)
    place = {name: number for number, name in enumerate(forecasts.names)}
    rows = [row for row in tune.rows if tune.cache.samples[row].name in place]
    numbers = [place[tune.cache.samples[row].name] for row in rows]
    inside = covered(forecasts, conformal, LEVELS)
    shares = {level: values[numbers] for level, values in inside.items()}
    shown = Subset(tune.cache, np.array(rows, dtype=int))
    return write_page(folder, Shown(shown, forecasts.age[numbers], shares, "split-conformal"))


def central_shares(probabilities: Float[np.ndarray, "photo age"], truth: Ages) -> dict[float, np.ndarray]:
    """For each level whether the true age lies between the two ends of the predicted distribution's central interval,
    whole ages included."""
    below = probabilities.cumsum(axis=1)
    age = np.clip(np.floor(truth).astype(int), 0, probabilities.shape[1] - 1)
    rows = np.arange(len(age))
    until = below[rows, age]
    before = until - probabilities[rows, age]
    return {level: (until >= (1 - level) / 2) & (before <= (1 + level) / 2) for level in LEVELS}


def write_page(folder: Path, shown: Shown) -> Path:
    """Write the page of the run in `folder`; gives its path."""
    truth, age = shown.truth, shown.age
    error = mean_absolute_error(truth, age)
    title = f"Training run {folder.name}"
    parts = [
        HEAD.format(title=html.escape(title), warning=WARNING),
        f"<p>{len(age)} photos that the choices of the run were made on (<i>tune</i>, not a test): mean absolute error "
        f"<b>{error:.2f} years</b>, within 5 years {cumulative_score(truth, age):.1%}. The 90 % intervals "
        f"({shown.promise}) hold {shown.shares[0.9].mean():.1%} of the true ages.</p>",
        _figure(_curves(read_log(folder), truth, age, shown)),
        f"<h2>The {min(WORST, len(age))} faces furthest off</h2>",
        *_worst(shown),
    ]
    if (folder / SAMPLES).is_file():
        parts.append("<h2>What the model was shown at the beginning, after augmentation</h2>")
        parts.append(_picture((folder / SAMPLES).read_bytes(), "png", "augmented faces"))
    parts += ["<h2>What the run was made of</h2>", _table(provenance.read(folder)), "</body></html>\n"]
    path = folder / PAGE
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _curves(log: Sequence[Mapping[str, Any]], truth: Ages, age: Ages, shown: Shown) -> Figure:
    figure, axes = plt.subplots(2, 2, figsize=(10, 8.5), layout="constrained")
    plt.close(figure)
    _mae_curve(axes[0, 0], log)
    _scatter(axes[0, 1], truth, age)
    scores = [100 * cumulative_score(truth, age, float(years)) for years in TOLERANCES]
    axes[1, 0].plot(TOLERANCES, scores, marker=".")
    axes[1, 0].set(xlabel="years θ", ylabel="CS(θ), %", ylim=(0, 100), title="share within θ years")
    _reliability(axes[1, 1], shown)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    return figure


def _mae_curve(axis: Axes, log: Sequence[Mapping[str, Any]]) -> None:
    axis.plot([row["epoch"] for row in log], [row["tune_mae"] for row in log], marker=".")
    axis.set(xlabel="epoch", ylabel="tune MAE, years", title="error while training")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _scatter(axis: Axes, truth: Ages, age: Ages) -> None:
    axis.scatter(truth, age, s=8, alpha=0.4, linewidths=0)
    end = max(float(truth.max()), float(age.max()))
    axis.plot([0, end], [0, end], color="black", linewidth=1)
    axis.set(xlabel="true age, years", ylabel="estimated age, years", title="estimated against true age")


def _reliability(axis: Axes, shown: Shown) -> None:
    levels = [100 * level for level in shown.shares]
    shares = [100 * float(inside.mean()) for inside in shown.shares.values()]
    axis.plot([50, 95], [50, 95], color="black", linewidth=1, label="as promised")
    axis.plot(levels, shares, marker=".", label=shown.promise)
    axis.set(xlabel="promised share, %", ylabel="share that holds the true age, %", title="intervals")
    axis.legend()


def _worst(shown: Shown) -> list[str]:
    cache, margin, truth = shown.subset.cache, shown.subset.cache.margin, shown.truth
    furthest = np.argsort(-np.abs(shown.age - truth), kind="stable")[:WORST]
    faces = []
    for index in furthest:
        row = shown.subset.rows[index]
        side = cache.crops.shape[1] - margin
        file = io.BytesIO()
        face = Image.fromarray(cache.crops[row][margin:side, margin:side])
        face.resize((96, 96)).save(file, "JPEG", quality=85)
        name = html.escape(cache.samples[row].name)
        caption = f"{shown.age[index]:.1f} for {truth[index]:.0f}"
        faces.append(
            f'<figure title="{name}">{_picture(file.getvalue(), "jpeg", name)}'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return faces


def _figure(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return _picture(file.getvalue(), "png", "curves of the run")


def _picture(content: bytes, kind: str, text: str) -> str:
    return f'<img alt="{text}" src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'


def _table(facts: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td><code>{html.escape(str(value))}</code></td></tr>"
        for name, value in facts.items()
    )
    return f"<table>{rows}</table>" if rows else "<p>Not recorded.</p>"
