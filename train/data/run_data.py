"""The photos of a training run: crop caches of its data sets, divided by split files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from train.data.crop_cache import Subset, subset, with_mean_ages
from train.data.datasets import read_groups, read_splits


@dataclass(frozen=True)
class RunData:
    """Parts of the crop caches below one folder, opened when they are asked for.

    Training and the error ensemble take photos of every data set (`train`, `held`). Choices, calibration and test take
    those of the first data set alone (`tune`, `cal`, `test`), because the checkpoint is measured on it.

    Attributes:
        cache: folder with one crop cache for each data set, by its name.
        splits: file name → part.
        shares: data set → share of its training photos drawn in each epoch.
        size: least side of a crop in pixels; 0 takes any.
        groups: file name → group of near-duplicates, which are trained with the mean of their ages.
    """

    cache: Path
    splits: Mapping[str, str]
    shares: Mapping[str, float]
    size: int = 0
    groups: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(
        cls, cache: Path, split_files: Iterable[Path], shares: Mapping[str, float], size: int = 0
    ) -> "RunData":
        """Read the split files. Raises DatasetError; so does each part that has no photos or too small crops."""
        files = list(split_files)
        return cls(cache, read_splits(files), shares, size, read_groups(files))

    @property
    def train(self) -> list[Subset]:
        """Training photos of every data set."""
        return [with_mean_ages(part, self.groups) for part in self.of_every_set("train")]

    @property
    def held(self) -> list[Subset]:
        """Held-out photos of every data set, for the error ensemble."""
        return self.of_every_set("held")

    @property
    def tune(self) -> Subset:
        """Validation photos of the first data set."""
        return self.of_first_set("tune")

    @property
    def cal(self) -> Subset:
        """Calibration photos of the first data set."""
        return self.of_first_set("cal")

    @property
    def test(self) -> Subset:
        """Test photos of the first data set."""
        return self.of_first_set("test")

    def of_every_set(self, part: str) -> list[Subset]:
        """Subsets of one part, in the order of `shares`."""
        return [
            subset(self.cache / name, self.splits, part, share, size=self.size)
            for name, share in self.shares.items()
        ]

    def of_first_set(self, part: str) -> Subset:
        """Subset of one part of the first data set."""
        return subset(self.cache / next(iter(self.shares)), self.splits, part, size=self.size)
