"""All-Age-Faces: 13,322 mostly Asian faces named `NNNNNAyy.jpg` (Cheng et al., "Exploiting effective facial patches
for robust gender recognition", Tsinghua Science and Technology 2019). No licence is stated by its makers."""

import re
from pathlib import Path

from train.datasets.base import DatasetError, Sample

NAME = re.compile(r"(\d{5})A(\d{2})\.jpg")
LAST_FEMALE = 7380  # serials up to this one are female, as the set's description says
FOLDER = "original images"


class AllAgeFaces:
    """Age and serial number from the file name; the gender follows from the serial number."""

    name = "all-age-faces"

    def read(self, root: Path) -> list[Sample]:
        """Samples in the order of their names. Raises DatasetError when the folder holds none."""
        folder = root / FOLDER
        samples = []
        for path in sorted(folder.glob("*.jpg")):
            match = NAME.fullmatch(path.name)
            if match:
                gender = "female" if int(match[1]) <= LAST_FEMALE else "male"
                samples.append(Sample(path, path.name, int(match[2]), gender, "asian", self.name))
        if not samples:
            raise DatasetError(
                f"No All-Age-Faces picture in {folder}: looked for NNNNNAyy.jpg, like 00000A02.jpg."
            )
        return samples
