"""The page at the end of a run holds everything itself, and says that it is not for publishing."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests import tiny
from tests.train.made_up import subset
from train.calibrate import run_report as page
from train.calibrate.run_report import LEVELS, WARNING, WORST, Shown, central_shares, write_page
from train.fit.logger import LOG


def test_the_page_stands_alone_and_warns(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text(
        '{"epoch": 1, "step": 4, "tune_mae": 9.5}\n{"epoch": 2, "step": 8, "tune_mae": 8.5}\n'
    )
    data = subset(30)
    text = page.after_fit(tiny.model(), data, tmp_path).read_text("utf-8")
    assert WARNING in text
    assert text.count("<figure") == WORST
    assert not re.search(r"(src|href)=\"(?!data:)", text)


def test_the_worst_faces_come_first_and_names_are_no_markup(tmp_path: Path) -> None:
    data = subset(30)
    odd = [replace(sample, name=f"<b>{sample.name}") for sample in data.cache.samples]
    data = replace(data, cache=replace(data.cache, samples=odd))
    shares = {level: np.ones(30, dtype=bool) for level in LEVELS}
    shown = Shown(data, np.zeros(30), shares, "made up")
    text = write_page(tmp_path, shown).read_text("utf-8")
    assert "<b>29.jpg" not in text
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert captions[0] == "0.0 for 90"
    truths = [int(caption.split()[-1]) for caption in captions]
    assert truths == sorted(truths, reverse=True)


def test_central_intervals_of_a_true_distribution_keep_their_promise() -> None:
    """Ages drawn from the predicted distributions themselves lie within as often as promised, or a little more: whole
    ages are coarse."""
    generator = np.random.default_rng(0)
    centre = generator.uniform(20, 80, (4000, 1))
    weight = np.exp(-((np.arange(101) - centre) ** 2) / (2 * 6.0**2))
    probabilities = weight / weight.sum(axis=1, keepdims=True)
    truth = np.array([generator.choice(101, p=row) for row in probabilities], dtype=float)
    for level, inside in central_shares(probabilities, truth).items():
        assert level - 0.02 < inside.mean() < level + 0.1
