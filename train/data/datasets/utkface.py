"""UTKFace: 200×200 aligned faces named `[age]_[gender]_[race]_[time].jpg.chip.jpg` (Zhang, Song, Qi, CVPR 2017)."""

import re
from pathlib import Path

from train.data.datasets.base import Sample, facts_of, some

# Of the published names two lack the race, one the gender, one the dot before its first "jpg"; one has a space there.
NAME = re.compile(r"(\d{1,3})_(?:([01])_)?(?:([0-4])_)?\d{8,} ?\.?jpg(\.chip\.jpg)?")
GENDERS = ("male", "female")
RACES = ("white", "black", "asian", "indian", "other")


class UTKFace:
    """Labels from the file names; files that do not follow the pattern are left out."""

    name = "utkface"
    facts = facts_of("utkface")

    def read(self, root: Path) -> list[Sample]:
        """Samples in the order of their names. Raises DatasetError when the folder holds none."""
        samples = []
        for path in sorted(root.glob("*.jpg")):
            match = NAME.fullmatch(path.name)
            if match:
                age = int(match[1])
                gender = GENDERS[int(match[2])] if match[2] else None
                race = RACES[int(match[3])] if match[3] else None
                samples.append(Sample(path, path.name, age, gender, race, self.name))
        return some(samples, root, "[age]_[gender]_[race]_[time].jpg.chip.jpg", self.facts)
