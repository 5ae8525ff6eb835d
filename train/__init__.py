"""Training, calibration and evaluation of CILF. Knows `cilf`; `cilf` does not know it."""
