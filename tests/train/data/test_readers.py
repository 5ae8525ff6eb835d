"""Every data set: what its reader gives on a small tree of the published layout, and what it says of a broken one."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.train.trees import LOST, TREES, cacd, fgnet, touch, write
from train.data.datasets import DATASETS, DatasetError, Sample, table
from train.data.datasets.adience import GROUPS, group_of_label
from train.data.datasets.scface import ScFace
from train.data.prepare_crops import prepare


def read(name: str, root: Path) -> list[Sample]:
    TREES[name](root)
    return DATASETS[name].read(root)


def test_every_set_has_a_tree_and_its_facts() -> None:
    assert set(TREES) == set(LOST) == set(DATASETS)
    for name, reader in DATASETS.items():
        assert reader.name == name
        assert reader.facts.source.startswith("https://")
        assert f"| `{name}` |" in table()


@pytest.mark.parametrize("name", DATASETS)
def test_samples_are_whole(name: str, tmp_path: Path) -> None:
    samples = read(name, tmp_path)
    reader = DATASETS[name]
    assert len({sample.name for sample in samples}) == len(samples)
    for sample in samples:
        assert sample.path.is_file()
        assert 0 <= sample.age <= 116
        assert sample.dataset == name
        assert (sample.subject is not None) == (reader.facts.subjects is not None)
        assert sample.gender in ("male", "female", None)
        if sample.group is not None:
            first, last = reader.facts.groups[sample.group]
            assert first <= sample.age <= last


@pytest.mark.parametrize("name", DATASETS)
def test_order_is_that_of_the_set_not_of_the_disk(name: str, tmp_path: Path) -> None:
    first = read(name, tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "aside")
    for path in sorted((tmp_path / "aside").rglob("*"), reverse=True):
        if path.is_file():
            copy = tmp_path / "two" / path.relative_to(tmp_path / "aside")
            copy.parent.mkdir(parents=True, exist_ok=True)
            path.rename(copy)
    second = DATASETS[name].read(tmp_path / "two")
    assert [sample.name for sample in first] == [sample.name for sample in second]


@pytest.mark.parametrize("name", DATASETS)
def test_a_half_unpacked_root_names_the_first_file_looked_for(name: str, tmp_path: Path) -> None:
    TREES[name](tmp_path)
    pattern, named = LOST[name]
    for path in list(tmp_path.glob(pattern)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DatasetError) as error:
        DATASETS[name].read(tmp_path)
    said = str(error.value)
    assert "looked for" in said
    assert named in said
    assert "\n" not in said


def test_morph(tmp_path: Path) -> None:
    samples = read("morph", tmp_path)
    assert [(s.name, s.age, s.gender, s.race, s.subject) for s in samples] == [
        ("009055_0M54.JPG", 54, "male", "black", "009055"),
        ("009055_1M55.JPG", 55, "male", "black", "009055"),
        ("012345_2F16.JPG", 16, "female", "white", "012345"),
        ("300001_3M30.JPG", 30, "male", "hispanic", "300001"),
    ]


def test_own_photos(tmp_path: Path) -> None:
    samples = read("own", tmp_path / "holiday")
    assert [(s.name, s.age) for s in samples] == [("a.png", 7), ("b.jpg", 41.5)]
    (tmp_path / "holiday" / "ages.csv").rename(tmp_path / "holiday.csv")
    assert DATASETS["own"].read(tmp_path / "holiday") == samples
    (tmp_path / "holiday.csv").write_text("filename,years\na.png,7\n")
    with pytest.raises(DatasetError, match=r"no age from 0 to 130 years for 'a\.png'"):
        DATASETS["own"].read(tmp_path / "holiday")


def test_fgnet(tmp_path: Path) -> None:
    samples = read("fgnet", tmp_path)
    assert [(s.age, s.subject) for s in samples] == [(2, "001"), (43, "001"), (69, "082")]


def test_fgnet_in_small_letters_and_short_of_photos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fgnet(tmp_path, ["001a02.jpg"])
    assert DATASETS["fgnet"].read(tmp_path)[0].age == 2
    assert "1 of the 1002 published photos" in caplog.text


def test_cacd_finds_names_whose_accents_were_lost(tmp_path: Path) -> None:
    samples = read("cacd", tmp_path)
    assert [(s.age, s.subject, s.fold) for s in samples] == [(53, "1", "1"), (30, "2", "4"), (20, "3", "6")]
    assert samples[1].path.name == "30_Zo_Saldana_0002.jpg"


def test_cacd_of_one_photo_and_without_its_struct(tmp_path: Path) -> None:
    cacd(tmp_path, [("20_A_0001.jpg", 20, 7, 3)])
    assert [(s.age, s.subject) for s in DATASETS["cacd"].read(tmp_path)] == [(20, "7")]
    (tmp_path / "celebrity2000_meta.mat").write_bytes(b"nothing of MATLAB's")
    with pytest.raises(DatasetError, match="celebrityImageData"):
        DATASETS["cacd"].read(tmp_path)


def test_adience_keeps_what_fits_one_group(tmp_path: Path) -> None:
    samples = read("adience", tmp_path)
    assert [(s.subject, s.fold, GROUPS[s.group or 0], s.gender) for s in samples] == [
        ("1", "0", (25, 32), "female"),
        ("3", "1", (0, 2), None),
        ("5", "2", (60, 100), None),
        ("6", "3", (25, 32), "male"),
        ("7", "4", (25, 32), "male"),
    ]
    assert samples[0].name == "30601258@N03/landmark_aligned_face.1.a.jpg"


@pytest.mark.parametrize(
    ("label", "group"),
    [
        ("(0, 2)", 0), ("(60, 100)", 7), ("(38, 42)", 5), ("(38, 48)", 5), ("(27, 32)", 4), ("(8, 12)", 2),
        ("29", 4), ("2", 0), ("58", None), ("35", None), ("13", None), ("None", None), ("", None), (None, None),
        ("(8, 23)", None), ("(2, 4)", None),
    ],
)  # fmt: skip
def test_adience_labels(label: str | None, group: int | None) -> None:
    assert group_of_label(label) == group


def test_faces_has_groups_until_it_is_told_the_ages(tmp_path: Path) -> None:
    samples = read("faces", tmp_path)
    assert len(samples) == 24
    old = samples[0]
    assert (old.group, old.age, old.gender, old.subject, old.fold) == (2, 74.5, "male", "004", "a")
    write(tmp_path / "ages.csv", [("subject", "age"), ("4", 71), ("016", 24)])
    told = DATASETS["faces"].read(tmp_path)
    assert {(s.subject, s.age, s.group) for s in told} == {("004", 71, None), ("016", 24, None)}
    write(tmp_path / "ages.csv", [("subject", "age"), ("4", 71)])
    with pytest.raises(DatasetError, match="no age for the person 016"):
        DATASETS["faces"].read(tmp_path)


def test_scface_reads_each_photo_once(tmp_path: Path) -> None:
    samples = read("scface", tmp_path)
    names = [s.name for s in samples if s.subject == "001"]
    assert names[:2] == ["001_frontal.jpg", "001_L1.jpg"]
    assert names[8:] == [
        "001_R4.jpg",
        *(f"001_cam{c}_{d}.jpg" for c in range(1, 8) for d in (1, 2, 3)),
        "001_cam8.jpg",
    ]
    assert {(s.subject, s.age, s.gender) for s in samples} == {("001", 26, "male"), ("002", 55, "female")}
    assert ScFace(recorded=2005).read(tmp_path)[0].age == 25


def test_scface_knows_everybody_or_says_whom_it_misses(tmp_path: Path) -> None:
    TREES["scface"](tmp_path)
    touch(tmp_path, ["mugshot_rotation_all/003_R1.jpg"])
    with pytest.raises(DatasetError, match="date of birth for the person 003"):
        DATASETS["scface"].read(tmp_path)
    (tmp_path / "features.txt").write_text("nobody")
    with pytest.raises(DatasetError, match="lists nobody"):
        DATASETS["scface"].read(tmp_path)


@pytest.mark.parametrize(
    ("name", "lost", "said"),
    [
        ("faces", "016_y_f_s_b.jpg", "1 of 24 "),
        ("faces", "004_o_m_[ad]_*.jpg", "4 of 24 "),
        ("scface", "mugshot_frontal_original_all/002_frontal.jpg", None),  # the same view is in the rotation
        ("scface", "mugshot_rotation_all/002_R[34].jpg", "2 of 62 "),
        ("scface", "surveillance_cameras_all/00?_cam7_3.jpg", "2 of 62 "),
    ],
)
def test_photos_that_file_names_foretell_are_missed(
    name: str, lost: str, said: str | None, tmp_path: Path
) -> None:
    TREES[name](tmp_path)
    missing = sorted(tmp_path.glob(lost))
    for path in missing:
        path.unlink()
    if said is None:
        assert DATASETS[name].read(tmp_path)
        return
    with pytest.raises(DatasetError) as error:
        DATASETS[name].read(tmp_path)
    assert said in str(error.value)
    assert str(error.value).endswith(f"the first one looked for is {missing[0]}.")


def test_names_of_other_capitals_and_endings_are_known(tmp_path: Path) -> None:
    TREES["faces"](tmp_path)
    (tmp_path / "016_y_f_s_b.jpg").rename(tmp_path / "016_Y_F_S_B.JPEG")
    assert len(DATASETS["faces"].read(tmp_path)) == 24


def test_agedb(tmp_path: Path) -> None:
    samples = read("agedb", tmp_path)
    assert [(s.age, s.gender, s.subject) for s in samples] == [
        (35, "female", "MariaCallas"), (40, "female", "MariaCallas"), (7, "male", "Le_Corbusier")
    ]  # fmt: skip
    assert DATASETS["agedb"].read(tmp_path / "AgeDB")[0].name == samples[0].name


def test_appa_real_has_two_labels(tmp_path: Path) -> None:
    real = read("appa-real", tmp_path)
    assert [(s.name, s.age, s.fold, s.deviation) for s in real] == [
        ("appa-real/train/000000.jpg", 20, "train", None),
        ("appa-real/valid/000001.jpg", 21, "valid", None),
        ("appa-real/test/000002.jpg", 22, "test", None),
    ]
    apparent = DATASETS["appa-real-apparent"].read(tmp_path)
    assert [(s.age, s.deviation) for s in apparent] == [(25.5, 4.25)] * 3


def test_clap2016_with_its_tables_in_folders_or_not(tmp_path: Path) -> None:
    nested = read("clap2016", tmp_path)
    assert [(s.age, s.deviation, s.fold) for s in nested] == [
        (30.5, 3.5, "train"), (31.5, 3.5, "valid"), (32.5, 3.5, "test")
    ]  # fmt: skip
    for part in ("train", "valid", "test"):
        (tmp_path / f"{part}_gt" / f"{part}_gt.csv").rename(tmp_path / f"{part}_gt.csv")
    assert DATASETS["clap2016"].read(tmp_path) == nested


def test_imdb_clean(tmp_path: Path) -> None:
    samples = read("imdb-clean", tmp_path)
    assert [(s.subject, s.age, s.gender, s.fold) for s in samples] == [
        ("nm0000040", 43, "male", "train"),
        ("nm0000041", 43, "female", "valid"),
        ("nm0000042", 43, "male", "test"),
    ]


def test_fairface(tmp_path: Path) -> None:
    samples = read("fairface", tmp_path)
    assert [(s.name, s.group, s.gender, s.race, s.fold) for s in samples] == [
        ("fairface/train/1.jpg", 6, "male", "east asian", "train"),
        ("fairface/train/2.jpg", 0, "female", "latino hispanic", "train"),
        ("fairface/val/1.jpg", 8, "male", "black", "val"),
    ]


@pytest.mark.parametrize(
    ("name", "file", "text", "said"),
    [
        ("morph", "morph_2008_nonCommercial.csv", "id,age\n1,2\n", "lacks the column"),
        ("appa-real", "gt_avg_train.csv", "file_name,apparent_age_avg,apparent_age_std,real_age\na,1,1,old\n", "'old'"),
        ("fairface", "fairface_label_train.csv", "file,age,gender,race\n1.jpg,eleven,Male,Black\n", "'eleven'"),
        ("imdb-clean", "csvs/imdb_train_new_1024.csv", "filename,age,gender\nx.jpg,2,M\n", "nm0000048_rm"),
        ("adience", "fold_0_data.txt", "user_id,age\n", "lacks the column"),
    ],
)  # fmt: skip
def test_labels_of_another_kind_are_one_sentence(
    name: str, file: str, text: str, said: str, tmp_path: Path
) -> None:
    TREES[name](tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(DatasetError) as error:
        DATASETS[name].read(tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_crop_cache_learns_labels_that_came_later(tmp_path: Path, grace_hopper: np.ndarray) -> None:
    """FACES gets exact ages when `ages.csv` is put there: the faces need not be cut out again."""
    root = tmp_path / "FACES"
    root.mkdir()
    for name in (f"004_o_m_{expression}_{part}.jpg" for expression in "adfhns" for part in "ab"):
        Image.fromarray(grace_hopper).crop((150, 60, 390, 300)).save(root / name)
    prepare(DATASETS["faces"].read(root), tmp_path / "crops", 32, 4, 1)
    write(root / "ages.csv", [("subject", "age"), ("004", 77)])
    written = (tmp_path / "crops" / "crops.npy").stat().st_mtime_ns
    sample, *_ = prepare(DATASETS["faces"].read(root), tmp_path / "crops", 32, 4, 1).samples
    assert (sample.age, sample.group, sample.subject, sample.fold) == (77, None, "004", "a")
    assert (tmp_path / "crops" / "crops.npy").stat().st_mtime_ns == written


@pytest.mark.slow
def test_a_crop_cache_cuts_out_again_what_was_cut_in_another_way(
    tmp_path: Path, grace_hopper: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(grace_hopper).save(tmp_path / "face.png")
    (tmp_path / "ages.csv").write_text("filename,age\nface.png,77\n")
    prepare(DATASETS["own"].read(tmp_path), tmp_path / "crops", 32, 4, 1)
    crops = tmp_path / "crops" / "crops.npy"
    written = crops.stat().st_mtime_ns
    prepare(DATASETS["own"].read(tmp_path), tmp_path / "crops", 32, 4, 1)
    assert crops.stat().st_mtime_ns == written
    monkeypatch.setattr("train.data.prepare_crops.CUT", -1)
    prepare(DATASETS["own"].read(tmp_path), tmp_path / "crops", 32, 4, 1)
    assert crops.stat().st_mtime_ns > written


@pytest.mark.slow
def test_a_crop_cache_cuts_out_again_what_has_changed(tmp_path: Path, grace_hopper: np.ndarray) -> None:
    """Another picture under the same name, as of a second folder with photos of one's own."""
    face = Image.fromarray(grace_hopper).crop((150, 60, 390, 300))
    for folder, picture in (("first", face), ("second", face.rotate(180))):
        (tmp_path / folder).mkdir()
        picture.save(tmp_path / folder / "1.png")
        write(tmp_path / folder / "ages.csv", [("filename", "age"), ("1.png", 37)])
    first, second = (
        prepare(DATASETS["own"].read(tmp_path / folder), tmp_path / "crops", 32, 4, 1).crops[0].copy()
        for folder in ("first", "second")
    )
    assert (first != second).any()
