"""Readers of face data sets, one file each, and the registry of their names."""

from train.datasets.all_age_faces import AllAgeFaces
from train.datasets.base import Dataset, DatasetError, Sample, read_split, select
from train.datasets.utkface import UTKFace

DATASETS: dict[str, Dataset] = {reader.name: reader for reader in (UTKFace(), AllAgeFaces())}

__all__ = ["DATASETS", "Dataset", "DatasetError", "Sample", "read_split", "select"]
