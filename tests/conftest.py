"""What all tests share: the two public-domain portraits, and one face finder."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import settings
from PIL import Image

from cilf.face.finder import FaceFinder

# A busy machine may take a second for what takes a millisecond; no test of time.
settings.register_profile("cilf", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("cilf")

BROWSER = Path(__file__).with_name("browser")
LONG_FIRST = ("training", "browser", "slow")


def pytest_configure() -> None:
    """One thread each where several processes share the machine, and for the programs that they start.

    NumPy's library reads its setting when it is imported, which in a worker is before this: it inherits it.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"
        torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect no garbage meanwhile, nor of what the imports leave: they live as long as the process."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of `tests/browser`; the other marks stand with their tests. Files that train, drive a browser or
    hold slow tests come first, so that no process has a long one left when the others are through."""
    for item in items:
        if BROWSER in item.path.parents:
            item.add_marker(pytest.mark.browser)
    rank: dict[Path, int] = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        own = next((place for place, name in enumerate(LONG_FIRST) if name in marks), len(LONG_FIRST))
        rank[item.path] = min(own, rank.get(item.path, own))
    items.sort(key=lambda item: rank[item.path])


@pytest.fixture(scope="session")
def grace_hopper() -> np.ndarray:
    """Grace Hopper, January 1984: 600x512x3 uint8 RGB, read-only."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        return _read_only(np.array(Image.open(file).convert("RGB")))


@pytest.fixture(scope="session")
def eileen_collins() -> np.ndarray:
    """Eileen Collins, a NASA portrait of the 1990s: 512x512x3 uint8 RGB, read-only."""
    return _read_only(skimage.data.astronaut())


@pytest.fixture(scope="session")
def finder() -> FaceFinder:
    return FaceFinder()


def _read_only(photo: np.ndarray) -> np.ndarray:
    photo.flags.writeable = False
    return photo
