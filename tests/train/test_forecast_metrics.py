"""Measures of distributions, against their formulas."""

import numpy as np
import pandas as pd
import pytest

from train.forecast_metrics import calibration_report, crps, evidence_report, interval_score


def test_the_crps_of_a_certain_age_is_its_error() -> None:
    assert crps(np.eye(101)[30], 37.0) == pytest.approx(7)
    assert crps(np.eye(101)[30], 30.0) == 0


def test_the_crps_is_that_of_the_formula() -> None:
    """E|Y − y| − E|Y − Y′| / 2."""
    shares = np.random.default_rng(0).dirichlet(np.ones(101))
    ages = np.arange(101)
    apart = (np.abs(ages[:, None] - ages) * shares[:, None] * shares).sum()
    assert crps(shares, 44.0) == pytest.approx((np.abs(ages - 44) * shares).sum() - apart / 2)


def test_what_an_interval_misses_costs_the_more_the_more_it_promised() -> None:
    truth, low, high = (np.array([value]) for value in (45.0, 20.0, 40.0))
    assert interval_score(truth, low, high, 0.9) == pytest.approx(20 + 20 * 5)
    assert interval_score(truth, low, high, 0.5) == pytest.approx(20 + 4 * 5)


def test_reports_count() -> None:
    table = pd.DataFrame(
        {
            "truth": [20.0, 30.0, 40.0, 50.0],
            "initial_age": [24.0, 30.0, 44.0, 50.0],
            "age": [22.0, 30.0, 44.2, 50.0],
            "iterations": [2, 0, 1, 0],
            "crps": [1.0, 2.0, 3.0, 4.0],
            "level": [0.05, 0.25, 0.55, 0.95],
            "low_0.9": [19.0, 20.0, 41.0, 49.0],
            "high_0.9": [25.0, 40.0, 45.0, 51.0],
        }
    )
    calibration = calibration_report(table, (0.9,))
    assert calibration["crps"] == 2.5
    assert calibration["intervals"]["0.9"]["coverage"] == 0.75
    assert calibration["reliability"]["0.5"] == 0.5
    evidence = evidence_report(table)
    assert evidence["share_asking"] == 0.5
    assert evidence["share_moved"] == 0.25
    assert evidence["mean_views"] == 1.75
    assert evidence["gain"] == pytest.approx((2 - 0.2) / 4)


def test_the_crps_counts_the_years_beyond_the_last_age() -> None:
    assert crps(np.eye(101)[90], 116) == 26
    assert crps(np.eye(101)[100], 101) == 1
