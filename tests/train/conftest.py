"""What tests of the training package share."""

import pytest

from train.calibrate.predictions import PROPOSED


@pytest.fixture
def quick_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps of the error ensemble, few views and few rules of correction, for tests that are not about them."""
    monkeypatch.setattr("train.calibrate.error_ensemble.STEPS", 60)
    monkeypatch.setattr("train.calibrate.error_ensemble.COSTS", (0.0, 0.02))
    monkeypatch.setattr("train.calibrate.error_ensemble.ACCEPTED", (0.5,))
    monkeypatch.setattr("train.calibrate.error_ensemble.MARGINS", (0.0,))
    monkeypatch.setattr("train.calibrate.error_ensemble.TRUSTS", (0.5,))
    monkeypatch.setattr("train.calibrate.intervals.HALVINGS", 4)
    monkeypatch.setattr("train.calibrate.calibrate.PROPOSED", PROPOSED[:2])
