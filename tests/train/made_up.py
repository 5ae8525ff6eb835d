"""A training set whose ages can be seen, and a recipe that is through in a second: what tests of the loop share."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests import tiny
from train.calibrate.calibrate import Photos
from train.data.augmentation.augment import AugmentConfig
from train.data.crop_cache import CropCache, Subset
from train.data.datasets import Sample
from train.fit.losses.cilf import LossConfig
from train.fit.recipe import FitConfig, Recipe

FIT = FitConfig(
    batch_size=8,
    epochs=2,
    learning_rate=3e-3,
    weight_decay=0.01,
    warmup=0.1,
    ema_decay=0.9,
    mixup=0.4,
    mixup_share=0.5,
    sizes=((0.0, 48), (0.5, 64)),
    precision="fp32",
    seed=0,
)
RECIPE = Recipe({"utkface": 1.0}, tiny.MODEL, LossConfig(), AugmentConfig(), FIT)


def subset(count: int = 32, folder: Path = Path()) -> Subset:
    """Grey pictures that are the brighter the older; `photos` writes them into `folder`."""
    ages = np.linspace(0, 90, count).round()
    crops = np.broadcast_to((ages * 2 + 30).astype(np.uint8)[:, None, None, None], (count, 80, 80, 3)).copy()
    samples = [
        Sample(folder / f"{i}.png", f"{i}.png", float(age), ("male", "female")[i % 2], "white", "utkface")
        for i, age in enumerate(ages)
    ]
    return Subset(CropCache(samples, crops, 8, np.ones(count, dtype=bool)), np.arange(count))


def photos(folder: Path, count: int = 32) -> Photos:
    """The same pictures as files, for every part of a calibration."""
    made = subset(count, folder)
    for sample, crop in zip(made.samples, made.cache.crops, strict=True):
        Image.fromarray(crop).save(sample.path)
    return Photos(made.samples, made.samples, made.samples, {})
