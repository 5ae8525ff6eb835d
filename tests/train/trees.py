"""Small trees in the published layout of every data set. The photos are empty files: readers never open them."""

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy.io import savemat


def touch(root: Path, names: Iterable[str]) -> Path:
    """Empty files at these paths below the root."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def write(path: Path, rows: Sequence[Sequence[object]], delimiter: str = ",") -> None:
    """A table, its heading first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)


def morph(root: Path, people: Sequence[tuple[str, str, str, int]] | None = None) -> None:
    """`people`: (race, gender, age) of each photo, with the person's number in front."""
    people = people or (
        ("009055", "B", "M", 54),
        ("009055", "B", "M", 55),
        ("012345", "W", "F", 16),
        ("300001", "H", "M", 30),
    )
    heading = "id_num picture_num dob doa race gender facial_hair age age_diff glasses photo".split()
    rows: list[Sequence[object]] = [heading]
    for number, (person, race, gender, age) in enumerate(people):
        photo = f"Album2/{person}_{number}{gender}{age}.JPG"
        rows.append((person, number, "01/01/1950", "01/01/2004", race, gender, "", age, 0, "", photo))
        touch(root, [photo])
    write(root / "morph_2008_nonCommercial.csv", rows)


def fgnet(root: Path, names: Iterable[str] = ("001A02.JPG", "001A43a.JPG", "082A69.JPG")) -> None:
    touch(root, [f"images/{name}" for name in names])
    touch(root, ["points/001a02.pts", "images/Thumbs.db"])


def cacd(root: Path, rows: Sequence[tuple[str, int, int, int]] | None = None) -> None:
    """`rows`: (file name, age, identity, rank)."""
    rows = rows or (
        ("53_Robin_Williams_0001.jpg", 53, 1, 1),
        ("30_Zoë_Saldana_0002.jpg", 30, 2, 4),
        ("20_Someone_Else_0001.jpg", 20, 3, 6),
    )
    names = np.empty((len(rows), 1), dtype=object)
    names[:, 0] = [row[0] for row in rows]
    column = {
        field: np.array([[row[i]] for row in rows]) for i, field in enumerate(("", "age", "identity", "rank"))
    }
    struct = {
        "age": column["age"], "identity": column["identity"], "year": column["age"] + 1960,
        "feature": np.zeros((len(rows), 1)), "rank": column["rank"], "lfw": column["age"] * 0,
        "birth": column["age"] * 0 + 1960, "name": names,
    }  # fmt: skip
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / "celebrity2000_meta.mat", {"celebrityImageData": struct})
    # Unpacked by a program that lost the accent.
    touch(root, [f"CACD2000/{row[0].replace('ë', '')}" for row in rows])


ADIENCE = (
    # user, image, face, age, gender
    (("30601258@N03", "a.jpg", 1, "(25, 32)", "f"), ("30601258@N03", "b.jpg", 2, "None", "m")),
    (("user1", "a.jpg", 3, "(0, 2)", ""), ("user1", "b.jpg", 4, "35", "m")),
    (("user2", "a.jpg", 5, "(60, 100)", "u"),),
    (("user3", "a.jpg", 6, "(27, 32)", "m"),),
    (("user4", "a.jpg", 7, "(8, 23)", "m"), ("user4", "b.jpg", 7, "29", "m")),
)


def adience(root: Path) -> None:
    for fold, faces in enumerate(ADIENCE):
        heading = (
            "user_id original_image face_id age gender x y dx dy tilt_ang fiducial_yaw_angle fiducial_score"
        )
        rows: list[Sequence[object]] = [heading.split()]
        for user, image, face, age, gender in faces:
            rows.append((user, image, face, age, gender, 0, 0, 10, 10, 0, 0, 40))
            touch(root, [f"aligned/{user}/landmark_aligned_face.{face}.{image}"])
        write(root / f"fold_{fold}_data.txt", rows, "\t")


def faces(root: Path) -> None:
    touch(root, [f"{who}_{e}_{p}.jpg" for who in ("004_o_m", "016_y_f") for e in "adfhns" for p in "ab"])


def scface(root: Path) -> None:
    lines = [f"line {number} of the explanation" for number in range(10)]
    lines += ["001\t05.03.1980\t0\t1\t0\t0", "002\t17.11.1951\t1\t0\t0\t1"]
    touch(root, ["features.txt"])
    (root / "features.txt").write_text("\r\n".join(lines), encoding="latin-1")
    views = ["frontal", *(f"{side}{step}" for side in "LR" for step in range(1, 5))]
    cameras = [(camera, distance) for camera in range(1, 8) for distance in range(1, 4)]
    for person in ("001", "002"):
        touch(
            root,
            [
                f"mugshot_frontal_original_all/{person}_frontal.jpg",
                f"mugshot_frontal_cropped_all/{person}_frontal.JPG",
                *(f"mugshot_rotation_all/{person}_{view}.jpg" for view in views),
                *(f"surveillance_cameras_all/{person}_cam{c}_{d}.jpg" for c, d in cameras),
                f"surveillance_cameras_all/{person}_cam8.jpg",
                f"surveillance_cameras_IR_cam8/{person}_cam8.jpg",
                *(f"surveillance_cameras_distance_{d}/cam_{c}/{person}_cam{c}_{d}.jpg" for c, d in cameras),
            ],
        )


def utkface(root: Path) -> None:
    touch(root, ["26_1_2_20170116184024662.jpg.chip.jpg", "1_0_4_20161219140623097.jpg.chip.jpg"])


def all_age_faces(root: Path) -> None:
    touch(root, ["original images/00000A02.jpg", "original images/07381A80.jpg"])


def agedb(root: Path) -> None:
    touch(
        root,
        ["AgeDB/0_MariaCallas_35_f.jpg", "AgeDB/1_MariaCallas_40_f.jpg", "AgeDB/999_Le_Corbusier_7_m.jpg"],
    )


def appa_real(root: Path) -> None:
    heading = ("file_name", "num_ratings", "apparent_age_avg", "apparent_age_std", "real_age")
    for number, part in enumerate(("train", "valid", "test")):
        write(root / f"gt_avg_{part}.csv", [heading, (f"00000{number}.jpg", 38, 25.5, 4.25, 20 + number)])
        touch(root, [f"{part}/00000{number}.jpg", f"{part}/00000{number}.jpg_face.jpg"])


def clap2016(root: Path) -> None:
    for number, part in enumerate(("train", "valid", "test")):
        rows = [("image", "mean", "stdv"), (f"00000{number}.jpg", 30.5 + number, 3.5)]
        write(root / f"{part}_gt" / f"{part}_gt.csv", rows)
        touch(root, [f"{part}/00000{number}.jpg"])


def imdb_clean(root: Path) -> None:
    heading = "filename age gender x_min y_min x_max y_max head_roll head_yaw head_pitch".split()
    for number, part in enumerate(("train", "valid", "test")):
        name = f"4{number}/nm000004{number}_rm113283840_1941-5-24_1985.jpg"
        write(root / f"csvs/imdb_{part}_new_1024.csv", [heading, (name, 43, "MFM"[number], *range(7))])
        touch(root, [f"data/imdb-clean-1024/{name}"])


def fairface(root: Path) -> None:
    rows = {
        "train": [("1.jpg", "50-59", "Male", "East Asian"), ("2.jpg", "0-2", "Female", "Latino_Hispanic")],
        "val": [("1.jpg", "more than 70", "Male", "Black")],
    }
    for part, found in rows.items():
        table = [("file", "age", "gender", "race", "service_test")]
        table += [(f"{part}/{name}", age, gender, race, "True") for name, age, gender, race in found]
        write(root / f"fairface_label_{part}.csv", table)
        touch(root, [f"fairface-img-margin025-trainval/{part}/{row[0]}" for row in found])


def own(root: Path) -> None:
    write(root / "ages.csv", [("filename", "age"), ("b.jpg", 41.5), ("a.png", 7)])
    touch(root, ["a.png", "b.jpg"])


TREES: dict[str, Callable[[Path], None]] = {
    "morph": morph,
    "fgnet": fgnet,
    "cacd": cacd,
    "adience": adience,
    "faces": faces,
    "scface": scface,
    "utkface": utkface,
    "all-age-faces": all_age_faces,
    "agedb": agedb,
    "appa-real": appa_real,
    "appa-real-apparent": appa_real,
    "clap2016": clap2016,
    "imdb-clean": imdb_clean,
    "fairface": fairface,
    "own": own,
}
# Of each set: what goes missing from its tree, and what the error names then, as the first thing looked for.
LOST = {
    "morph": ("Album2/012345_2F16.JPG", "012345_2F16.JPG"),
    "fgnet": ("images", "images"),
    "cacd": ("CACD2000/53_Robin_Williams_0001.jpg", "53_Robin_Williams_0001.jpg"),
    "adience": ("fold_3_data.txt", "fold_3_data.txt"),
    "faces": ("*.jpg", "004_o_m_a_a.jpg"),
    "scface": ("surveillance_cameras_all", "surveillance_cameras_all"),
    "utkface": ("*.jpg", "[age]_[gender]_[race]_[time].jpg.chip.jpg"),
    "all-age-faces": ("original images", "00000A02.jpg"),
    "agedb": ("AgeDB", "[number]_[name]_[age]_[gender].jpg"),
    "appa-real": ("test/000002.jpg", "000002.jpg"),
    "appa-real-apparent": ("gt_avg_valid.csv", "gt_avg_valid.csv"),
    "clap2016": ("valid/000001.jpg", "000001.jpg"),
    "imdb-clean": ("data/imdb-clean-1024", "imdb-clean-1024"),
    "fairface": ("fairface-img-margin025-trainval/val/1.jpg", "1.jpg"),
    "own": ("b.jpg", "b.jpg"),
}  # fmt: skip
