"""CACD2000: 163,446 photos of 2,000 celebrities, 14 to 62 years old (Chen, Chen, Hsu, ECCV 2014).

Layout: `celebrity2000_meta.mat` with a struct `celebrityImageData` of columns, and the photos in `CACD2000/`. A
celebrity's rank among those born in the same year, 1 to 50, is what the usual division rests on: duplicates and wrong
faces of ranks 1 to 5 were removed by hand.
"""

from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from train.data.datasets.base import DatasetError, Sample, complete, facts_of, required

LABELS = "celebrity2000_meta.mat"
FOLDER = "CACD2000"
COLUMNS = ("name", "age", "identity", "rank")


class CACD:
    """Age, person and rank from the MATLAB file; the rank is the sample's `fold`."""

    name = "cacd"
    facts = facts_of("cacd")

    def read(self, root: Path) -> list[Sample]:
        """Samples in the order of the MATLAB file. Raises DatasetError."""
        table = _table(required(root / LABELS, self.facts))
        files = {_skeleton(path.name): path for path in sorted((root / FOLDER).glob("*.jpg"))}
        samples = []
        for name, age, identity, rank in zip(*(table[column] for column in COLUMNS), strict=True):
            path = root / FOLDER / str(name)
            # The archive's accented names come out differently from one unpacking program to another.
            path = files.get(_skeleton(str(name)), path)
            samples.append(
                Sample(
                    path,
                    _skeleton(str(name)),
                    float(age),
                    None,
                    None,
                    self.name,
                    subject=str(int(identity)),
                    fold=str(int(rank)),
                )
            )
        return complete(samples, self.facts)


def _table(path: Path) -> dict[str, np.ndarray]:
    """The columns of `celebrityImageData`, each flat."""
    try:
        struct = loadmat(path, variable_names=["celebrityImageData"], squeeze_me=True)["celebrityImageData"]
        return {column: np.atleast_1d(struct[column].item()) for column in COLUMNS}
    except (KeyError, ValueError, NotImplementedError, OSError, MatReadError) as error:
        raise DatasetError(
            f"{path} has no celebrityImageData with the fields {', '.join(COLUMNS)} ({error}); "
            "celebrity2000.mat, the file with the image features, is another one."
        ) from error


def _skeleton(name: str) -> str:
    """A file name without its accented letters."""
    return name.encode("ascii", "ignore").decode()
