"""What tests of the training package share."""

from functools import partial

import pytest

from train.calibrate.calibrate import fit_ensemble


@pytest.fixture
def quick_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps of the error ensemble and few rules of correction, for tests of what stands round the calibration."""
    for user in ("train.calibrate.calibrate", "train.studies.ablation"):
        monkeypatch.setattr(f"{user}.fit_ensemble", partial(fit_ensemble, steps=100))
    monkeypatch.setattr("train.calibrate.calibrate.MISMATCHES", (0.0, 1.0))
    monkeypatch.setattr("train.calibrate.calibrate.CAUTIONS", (0.0, 1.0))
    monkeypatch.setattr("train.calibrate.calibrate.MARGINS", (0.0, 0.5))
