"""Protocols: who is shared, who is left out, and that the same names are divided alike everywhere."""

import csv
import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.trees import fgnet, morph
from train.__main__ import main
from train.data.datasets import DATASETS, DatasetError, Sample, read_groups, read_split
from train.data.protocols import apportion, divide, protocol, protocols, shared, table, write

PARTS = {"train", "held", "tune", "cal", "test"}
PHOTOS = st.lists(st.integers(1, 7), min_size=12, max_size=40)  # of each person
FOLDS = {
    "cacd": [str(rank) for rank in range(1, 51)],
    "adience": ["0", "1", "2", "3", "4"],
    "appa-real": ["train", "train", "valid", "test"],
    "appa-real-apparent": ["train", "train", "valid", "test"],
    "clap2016": ["train", "train", "valid", "test"],
    "imdb-clean": ["train", "train", "valid", "test"],
    "fairface": ["train", "train", "val"],
}


@pytest.fixture(autouse=True, scope="module")
def _few_are_enough() -> Iterator[None]:
    """Made-up sets are smaller than the published ones that they stand for."""
    with pytest.MonkeyPatch.context() as patch:
        for reader in DATASETS.values():
            if reader.facts.whole:
                patch.setattr(type(reader), "facts", replace(reader.facts, photos=1))
        yield


def people(dataset: str, photos: list[int]) -> list[Sample]:
    """So many photos of each person; a person is in one fold."""
    known = DATASETS[dataset].facts.subjects is not None
    folds = FOLDS.get(dataset, [""])
    samples = []
    for person, count in enumerate(photos):
        for photo in range(count):
            name = f"{person:04}_{photo}.jpg"
            samples.append(
                Sample(
                    Path(name), name, float(16 + person % 50), ("male", "male", "male", "female")[person % 4],
                    ("white", "black")[person % 2], dataset, f"{person:04}" if known else None,
                    fold=folds[person % len(folds)] or None,
                )
            )  # fmt: skip
    return samples


def default(name: str) -> str:
    return protocol(name).dataset or "fgnet"


@pytest.mark.parametrize("name", protocols())
def test_every_protocol_divides_its_set(name: str, tmp_path: Path) -> None:
    rules, samples = protocol(name), people(default(name), [4] * 200)
    by_name = {sample.name: sample for sample in samples}
    splits = divide(rules, samples)
    for split in splits:
        assert set(split.parts.values()) == PARTS
        assert set(split.parts) <= set(by_name)
        assert set(split.units) == set(split.parts)
        if rules.exclusive:
            assert shared(split, samples) == 0
        # Also where a person's photos lie in several parts: a group may not.
        assert set(read_groups([write(split, tmp_path)])) == set(split.parts)
        if rules.ages:
            assert all(rules.ages[0] <= by_name[photo].age <= rules.ages[1] for photo in split.parts)
    assert len({split.name for split in splits}) == len(splits)
    assert rules.known
    assert f"| `{name}` |" in table()


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_set_has_a_protocol_of_its_own(dataset: str) -> None:
    assert any(rules.dataset == dataset for rules in protocols().values())


@settings(max_examples=15, deadline=None)
@given(PHOTOS, st.integers(0, 3))
@pytest.mark.parametrize(
    "name", [n for n, r in protocols().items() if r.unit == "subject" and r.dataset != "cacd"]
)
def test_subject_exclusive_parts_share_nobody(name: str, photos: list[int], seed: int) -> None:
    """Not only the test part: nobody is in two of the five parts."""
    samples = people(default(name), photos)
    for split in divide(protocol(name), samples, seed):
        parts: dict[str, set[str]] = {}
        for sample in samples:
            if sample.name in split.parts:
                parts.setdefault(sample.subject or "", set()).add(split.parts[sample.name])
        assert all(len(found) == 1 for found in parts.values())


@settings(max_examples=15, deadline=None)
@given(PHOTOS, st.randoms(use_true_random=False))
def test_order_of_the_samples_does_not_matter(photos: list[int], chance: random.Random) -> None:
    samples = people("morph", photos)
    other = samples.copy()
    chance.shuffle(other)
    for name in ("morph-s1", "morph-exclusive", "random-80-20"):
        assert divide(protocol(name), samples) == divide(protocol(name), other)


@settings(max_examples=15, deadline=None)
@given(PHOTOS)
def test_folds_test_every_photo_once(photos: list[int]) -> None:
    for name, dataset in (("morph-s1", "morph"), ("morph-exclusive", "morph"), ("fgnet-lopo", "fgnet")):
        samples = people(dataset, photos)
        tested = [
            n for split in divide(protocol(name), samples) for n, p in split.parts.items() if p == "test"
        ]
        assert sorted(tested) == sorted(sample.name for sample in samples)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=4), st.integers(1, 9), min_size=5), st.integers(0, 9))
def test_apportioned_parts_are_full_and_near_their_share(counts: dict[str, int], salt: int) -> None:
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    found = apportion(counts, shares, str(salt))
    assert set(found) == set(counts)
    sizes = Counter(dict.fromkeys(shares, 0))
    for unit, part in found.items():
        sizes[part] += counts[unit]
    assert all(sizes[part] > 0 for part in shares)
    total, largest = sum(counts.values()), max(counts.values())
    assert all(abs(sizes[part] - share * total) <= 2 * largest for part, share in shares.items())


def test_a_division_is_the_same_on_every_machine(tmp_path: Path) -> None:
    """Pinned: should this hash change, so do all published divisions."""
    samples = people("morph", [1 + person % 5 for person in range(60)])
    found = hashlib.sha256()
    for name in ("morph-s1", "morph-s2", "morph-s3", "morph-exclusive"):
        for split in divide(protocol(name), samples, seed=7):
            found.update(write(split, tmp_path).read_bytes())
    assert found.hexdigest() == "ff463165ed05d765b656006a294fefe0bdb2bfd5c8b2d6ee7f3f5c0ae1e07770"


def test_seeds_and_protocols_divide_differently() -> None:
    samples = people("fgnet", [3] * 40)
    first = divide(protocol("exclusive-80-20"), samples, 0)[0].parts
    assert first != divide(protocol("exclusive-80-20"), samples, 1)[0].parts
    assert first != divide(protocol("random-80-20"), samples, 0)[0].parts


def test_random_divisions_of_people_with_many_photos_share_them() -> None:
    samples = people("morph", [10] * 30)
    [split] = divide(protocol("random-80-20"), samples)
    assert shared(split, samples) > 20


def test_shares_are_those_of_the_protocol() -> None:
    [split] = divide(protocol("exclusive-80-20"), people("fgnet", [5] * 200))
    assert split.sizes["test"] == pytest.approx(200, abs=5)
    assert split.sizes["train"] == pytest.approx(0.84 * 800, abs=5)
    assert split.sizes["cal"] == pytest.approx(0.063 * 800, abs=5)


def test_morph_s2_is_of_one_race_and_s3_is_balanced() -> None:
    samples = people("morph", [9] * 400)
    race = {sample.name: (sample.race, sample.gender) for sample in samples}
    for split in divide(protocol("morph-s2"), samples):
        assert {race[name][0] for name in split.parts} == {"white"}
    for split in divide(protocol("morph-s3"), samples):
        trained = Counter(race[name] for name, part in split.parts.items() if part != "test")
        tested = Counter(race[name] for name, part in split.parts.items() if part == "test")
        assert {cell: 2 * count for cell, count in trained.items()} == tested


def test_cacd_is_divided_by_rank() -> None:
    samples = people("cacd", [2] * 100)
    [split] = divide(protocol("cacd"), samples)
    rank = {sample.name: int(sample.fold or 0) for sample in samples}
    for name, part in split.parts.items():
        wanted = {"train", "held"} if rank[name] > 5 else {"tune", "cal"} if rank[name] < 3 else {"test"}
        assert part in wanted
    samples = people("cacd", [2] * 200)
    rank = {sample.name: int(sample.fold or 0) for sample in samples}
    [clean] = divide(protocol("cacd-clean"), samples)
    tested = {rank[name] for name, part in clean.parts.items() if part == "test"}
    others = {rank[name] for name, part in clean.parts.items() if part != "test"}
    assert (tested, others) == ({3, 4, 5}, {1, 2})


@pytest.mark.parametrize("name", ["fgnet-lopo", "faces", "agedb-exclusive"])
def test_part_of_a_published_set_is_not_divided_as_the_whole(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing but their number tells that photos are missing."""
    reader, samples = DATASETS[default(name)], people(default(name), [2] * 20)
    monkeypatch.setattr(type(reader), "facts", replace(reader.facts, photos=41))
    with pytest.raises(
        DatasetError, match=f"40 of its 41 published photos are there, and the protocol '{name}'"
    ):
        divide(protocol(name), samples)
    assert divide(protocol("exclusive-80-20"), samples)
    monkeypatch.setattr(type(reader), "facts", replace(reader.facts, photos=40))
    assert divide(protocol(name), samples)


def test_people_who_train_do_not_choose() -> None:
    """IMDB-Clean's makers have people in both parts."""
    samples = people("imdb-clean", [4] * 80)
    shared = [
        Sample(**vars(sample) | {"subject": "0000"}) if sample.name == "0002_0.jpg" else sample
        for sample in samples
    ]
    assert next(sample.fold for sample in shared if sample.name == "0002_0.jpg") == "valid"
    [before], [after] = (divide(protocol("imdb-clean"), each) for each in (samples, shared))
    assert "0002_0.jpg" in before.parts
    assert set(before.parts) - set(after.parts) == {"0002_0.jpg"}


def test_a_broken_promise_is_an_error() -> None:
    samples = people("adience", [2] * 30)
    moved = [
        Sample(**vars(sample) | {"fold": "4"}) if sample.name == "0000_0.jpg" else sample
        for sample in samples
    ]
    with pytest.raises(DatasetError, match="1 people of the test part"):
        divide(protocol("adience"), moved)


@pytest.mark.parametrize(
    ("name", "dataset", "photos", "said"),
    [
        ("no-such", "morph", [2], "Unknown protocol 'no-such'"),
        ("morph-s1", "fgnet", [2] * 20, "divides morph, not fgnet"),
        ("exclusive-80-20", "utkface", [2] * 20, "does not tell them apart"),
        ("fgnet-lopo", "fgnet", [2, 2, 2], "needs more of the set"),
        ("morph-exclusive", "morph", [2, 2], "cannot fill the parts"),
    ],
)
def test_what_does_not_fit_is_one_sentence(name: str, dataset: str, photos: list[int], said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        divide(protocol(name), people(dataset, photos))


def test_split_writes_files_that_evaluate_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fgnet(tmp_path / "FGNET", [f"{person:03}A{age:02}.JPG" for person in range(1, 9) for age in (3, 20)])
    arguments = ["split", "--protocol", "fgnet-lopo", "--data", f"fgnet={tmp_path / 'FGNET'}"]
    assert main([*arguments, "--output", str(tmp_path / "splits")]) == 0
    files = sorted((tmp_path / "splits").glob("*.csv"))
    assert len(files) == 8
    assert read_split(files[0])["001A03.JPG"] == "test"
    with files[0].open(newline="") as file:
        assert {row["filename"]: row["group"] for row in csv.DictReader(file)}["002A20.JPG"] == "002"
    said = capsys.readouterr().out
    assert "0 people of test elsewhere too" in said
    assert "Known:" in said
    assert main(["split", "--protocol", "morph-s1", "--data", f"fgnet={tmp_path / 'FGNET'}"]) == 2


def test_split_of_morph_says_how_many_people_are_shared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    morph(tmp_path, [(f"{person:06}", "W", "M", 20 + photo) for person in range(20) for photo in range(5)])
    assert (
        main(["split", "--protocol", "morph-s1", "--data", f"morph={tmp_path}", "--output", str(tmp_path)])
        == 0
    )
    first = capsys.readouterr().out.splitlines()[0]
    assert "20 test" in first
    assert int(first.split(", ")[-1].split()[0]) > 5
