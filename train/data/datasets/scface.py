"""SCface: 4,160 photos of 130 people by surveillance cameras and a still camera (Grgic, Delac, Grgic, 2011).

Layout: `features.txt` (ten lines of explanation, then a tab-separated line a person: number, date of birth dd.mm.yyyy,
sex (0 male), beard, moustache, glasses) and folders of photos: `mugshot_frontal_original_all/001_frontal.jpg`,
`mugshot_rotation_all/001_R1.jpg`, `surveillance_cameras_all/001_cam1_1.jpg` (camera, distance) and the infrared
`surveillance_cameras_IR_cam8/001_cam8.jpg`. The set repeats photos in further folders; each name is read once, which
makes 31 a person: the frontal view of the nine of the rotation has the name of the frontal mugshot.

The set gives no date of the photos. 2006 is our assumption, NOT confirmed; should it be wrong, all ages are off by the
same number of years: `ScFace(recorded=…)`.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from train.data.datasets.base import DatasetError, Facts, Sample, facts_of, predicted, required

LABELS = "features.txt"
FOLDERS = (
    "mugshot_frontal_original_all",
    "mugshot_rotation_all",
    "surveillance_cameras_all",
    "surveillance_cameras_IR_cam8",
)
NAME = re.compile(r"(\d{3})_(\w+)\.jpe?g", re.IGNORECASE)
PERSON = re.compile(r"(\d{1,3})\s+\d{1,2}\.\d{1,2}\.(\d{4})\.?\s+([01])\b")
GENDERS = ("male", "female")
# What each person has, by folder: all that the name adds to the number.
VIEWS: dict[str, tuple[str, ...]] = {
    FOLDERS[0]: ("frontal",),
    FOLDERS[1]: tuple(f"{side}{step}" for side in "LR" for step in range(1, 5)),
    FOLDERS[2]: (*(f"cam{camera}_{distance}" for camera in range(1, 8) for distance in range(1, 4)), "cam8"),
}


@dataclass(frozen=True)
class ScFace:
    """Person from the file name; age (in whole years, from the year of birth) and gender from `features.txt`.

    Attributes:
        recorded: the year of the photos.
    """

    recorded: int = 2006
    name: ClassVar[str] = "scface"
    facts: ClassVar[Facts] = facts_of("scface")

    def read(self, root: Path) -> list[Sample]:
        """Samples by folder and name. Raises DatasetError."""
        labels = required(root / LABELS, self.facts)
        text = labels.read_text(encoding="latin-1")
        people = {int(person): (int(born), int(sex)) for person, born, sex in PERSON.findall(text)}
        if not people:
            raise DatasetError(f'{labels} lists nobody: looked for lines like "001 01.02.1980 0 0 0 0".')
        for folder in FOLDERS[:3]:
            required(root / folder, self.facts)
        samples: dict[str, Sample] = {}
        for path in (path for folder in FOLDERS for path in sorted((root / folder).glob("*"))):
            match = NAME.fullmatch(path.name)
            if not match or path.name.lower() in samples:
                continue
            if int(match[1]) not in people:
                raise DatasetError(f"{labels} gives no date of birth for the person {match[1]} of {path}.")
            born, sex = people[int(match[1])]
            samples[path.name.lower()] = Sample(
                path, path.name, self.recorded - born, GENDERS[sex], None, self.name, subject=match[1]
            )
        paths = [
            root / folder / f"{person:03}_{view}.jpg"
            for person in sorted(people)
            for folder, views in VIEWS.items()
            for view in views
        ]
        return predicted(list(samples.values()), paths, self.facts)
