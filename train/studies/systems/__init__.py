"""The systems that the paper compares itself with, and CILF, on equal terms: `python -m train compare-systems`."""
