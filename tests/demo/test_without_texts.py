"""The page with weights of MTMSA, which compare no texts: everything else is shown, and what is missing is told."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cilf import AgeEstimator
from cilf.checkpoint import load
from cilf.demo import texts
from cilf.demo.model import evidence
from cilf.demo.model.side_by_side import bundled_reports, side_by_side
from cilf.demo.photo.tab import PhotoTab
from cilf.demo.server.model_host import ModelHost
from cilf.demo.server.sessions import Visits
from tests import tiny
from tests.demo.conftest import blocks, request, send

ROW = {"mae": 4.6437, "mae_range": [4.44, 4.83], "cs5": 0.661, "interval": {"coverage": 0.888}}


@pytest.fixture(scope="module")
def estimator(tmp_path_factory: pytest.TempPathFactory) -> AgeEstimator:
    return AgeEstimator(load(tiny.mtmsa_checkpoint(tmp_path_factory.mktemp("mtmsa"))))


@pytest.fixture
def tab(estimator: AgeEstimator) -> Iterator[PhotoTab]:
    host = ModelHost(lambda: estimator)
    host.start()
    host.get()
    with blocks():
        yield PhotoTab(host, Visits())


@pytest.fixture
def answer(tab: PhotoTab, tmp_path: Path, grace_hopper: np.ndarray) -> dict[Any, Any]:
    path = tmp_path / "upload" / "portrait.png"
    path.parent.mkdir()
    Image.fromarray(grace_hopper).save(path)
    return list(send(tab, path, "a child\nan old woman", request()))[-1]


def test_age_trace_distribution_and_heat_map_are_shown(tab: PhotoTab, answer: dict[Any, Any]) -> None:
    assert "years" in answer[tab.age]
    assert "90 % interval" in answer[tab.age]
    assert "First guess" in answer[tab.correction]
    assert "ensemble" not in answer[tab.correction]
    assert "Likeliest age" in answer[tab.distribution]
    assert "Heat map" in answer[tab.heat]


def test_one_sentence_stands_where_prompts_would_be_scored(tab: PhotoTab, answer: dict[Any, Any]) -> None:
    assert texts.NO_TEXTS in answer[tab.scores]
    assert texts.NO_TEXTS in tab.on_prompts("a man", 0, request())[tab.scores]


def test_neither_gender_nor_race_is_guessed_on_the_page(answer: dict[Any, Any]) -> None:
    shown = " ".join(str(value) for value in answer.values())
    assert not re.search(r"\b(gender|male|female|race|indian)\b", shown, re.IGNORECASE)


def test_the_model_tab_says_which_system_it_is(estimator: AgeEstimator) -> None:
    pieces = evidence.of(estimator)
    assert "MTMSA" in pieces.facts
    assert "no text tower" in pieces.facts
    assert "not measured" in pieces.facts


def test_both_systems_stand_side_by_side() -> None:
    shown = side_by_side({"compact": {"all": ROW}, "mtmsa": None, "<b>": {"all": {"mae": "?"}}})
    assert "<b>4.64</b>" in shown
    assert "(4.44–4.83)" in shown
    assert shown.count("not measured") == 2
    assert "&lt;b&gt;" in shown


def test_one_system_alone_needs_no_table() -> None:
    assert side_by_side({"compact": {"all": ROW}}) == ""


def test_the_reports_are_those_of_the_bundled_checkpoints() -> None:
    pieces = bundled_reports()
    assert pieces["compact"] is not None
    assert pieces["compact"]["all"]["mae"] > 0
