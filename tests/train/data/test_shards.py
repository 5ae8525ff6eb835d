"""Shards give the crops that were written, about once an epoch each, and the same again after an interruption."""

import hashlib
import shutil
import threading
from collections import Counter
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.train.made_up import FIT, RECIPE, subset
from train.data import shards as shards_module
from train.data.augmentation.augment import AugmentConfig
from train.data.batches import Batch, Draft, Schedule
from train.data.datasets import DatasetError
from train.data.shards import ShardSet, Streamed, open_shards, write_shards
from train.fit.loop import Interrupted, fit

SCHEDULE = Schedule(
    seed=3, batch_size=8, balance=0.0, epochs=2, sizes=((0.0, 32),), augment=AugmentConfig(), process=0
)
DATA = subset(48)


@pytest.fixture
def location(tmp_path: Path) -> str:
    """48 crops, 40 of them of the part `train`, in shards of 10."""
    splits = {sample.name: "train" if row % 6 else "held" for row, sample in enumerate(DATA.cache.samples)}
    crops = zip(DATA.cache.samples, DATA.cache.crops, strict=True)
    assert write_shards(crops, tmp_path / "set", 8, splits, per_shard=10) == {"train": 40, "held": 8}
    return str(tmp_path / "set")


def batches(shards: list[ShardSet], schedule: Schedule, first: int = 0, workers: int = 0) -> list[Batch]:
    return [part for parts in Streamed(shards, schedule).batches(first, workers) for part in parts]


def test_a_photo_of_another_part_is_not_learned_from(location: str, tmp_path: Path) -> None:
    """Of shards written by another split, or without any: all their photos are of the part `train`."""
    crops = zip(DATA.cache.samples, DATA.cache.crops, strict=True)
    write_shards(crops, tmp_path / "whole", 8, per_shard=10)
    splits = {sample.name: "test" if row == 7 else "train" for row, sample in enumerate(DATA.cache.samples)}
    with pytest.raises(DatasetError, match=r"hold 7\.png, which the split puts into the part 'test'"):
        batches([open_shards(str(tmp_path / "whole"), splits=splits)], SCHEDULE)
    splits["7.png"] = "train"
    assert batches([open_shards(str(tmp_path / "whole"), splits=splits)], SCHEDULE)


def test_what_was_written_is_read(location: str) -> None:
    """Pixel by pixel: a schedule without augmentation shows the middle of the crop."""
    shards = open_shards(location)
    assert (len(shards.urls), shards.count, shards.margin) == (4, 40, 8)
    still = AugmentConfig(*[0.0] * 9, blur_factor=1.0, noise=0.0, jpeg=0.0, erase=0.0)
    schedule = replace(SCHEDULE, sizes=((0.0, 64),), augment=still)
    seen: Counter[str] = Counter()
    for batch in batches([shards], schedule):
        for sample, pixels in zip(batch.samples, batch.pixels, strict=True):
            row = int(sample.name.removesuffix(".png"))
            original = DATA.cache.samples[row]
            assert (sample.age, sample.gender) == (original.age, original.gender)
            assert torch.allclose(
                pixels, torch.tensor(float(DATA.cache.crops[row, 0, 0, 0]) / 255), atol=1e-5
            )
            seen[sample.name] += 1
    assert len(seen) == 40
    assert set(seen.values()) == {2}  # one reader meets each crop once in each of two epochs


def test_the_same_data_give_the_same_bytes(location: str, tmp_path: Path) -> None:
    splits = {sample.name: "train" if row % 6 else "held" for row, sample in enumerate(DATA.cache.samples)}
    write_shards(
        zip(DATA.cache.samples, DATA.cache.crops, strict=True), tmp_path / "b", 8, splits, per_shard=10
    )
    assert open_shards(location).fingerprint() == open_shards(str(tmp_path / "b")).fingerprint()


def test_writing_anew_leaves_nothing_of_before(location: str, tmp_path: Path) -> None:
    """Else photos that a split keeps for tests would stay in the shards of the part `train`."""
    folder = tmp_path / "anew"
    write_shards(zip(DATA.cache.samples, DATA.cache.crops, strict=True), folder, 8, per_shard=10)
    splits = {sample.name: "train" if row % 6 else "held" for row, sample in enumerate(DATA.cache.samples)}
    write_shards(zip(DATA.cache.samples, DATA.cache.crops, strict=True), folder, 8, splits, per_shard=10)
    assert open_shards(str(folder)).fingerprint() == open_shards(location).fingerprint()
    assert len(list(folder.glob("*.tar"))) == 5


def test_crops_of_several_sets_have_numbers_of_their_own(tmp_path: Path) -> None:
    """Also where crops of other parts come first."""
    splits = {sample.name: "train" if row >= 8 else "held" for row, sample in enumerate(DATA.cache.samples)}
    for name in ("a", "b"):
        crops = zip(DATA.cache.samples, DATA.cache.crops, strict=True)
        write_shards(crops, tmp_path / name, 8, splits, per_shard=10)
    both = [open_shards(str(tmp_path / name)) for name in ("a", "b")]
    numbers = [n for batch in batches(both, replace(SCHEDULE, epochs=1)) for n in batch.numbers]
    assert sorted(numbers) == list(range(80))


@pytest.mark.parametrize("first", [1, 3, 7])
def test_a_later_start_gives_the_rest_of_the_same_batches(location: str, first: int) -> None:
    shards = open_shards(location)
    whole, rest = batches([shards], SCHEDULE), batches([shards], SCHEDULE, first)
    assert [batch.step for batch in rest] == list(range(first, 10))
    for before, after in zip(whole[first:], rest, strict=True):
        assert torch.equal(before.pixels, after.pixels)


def test_workers_resume_where_they_were(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of two workers makes a step must not depend on where the run starts."""

    def by_two_workers(first: int) -> dict[int, Draft]:
        streamed, steps = Streamed([open_shards(location)], SCHEDULE), {}
        streamed.first = first
        for number in (0, 1):
            info = SimpleNamespace(id=number, num_workers=2)
            monkeypatch.setattr(shards_module, "get_worker_info", lambda info=info: info)
            drafts = [parts[0] for parts in streamed if not isinstance(parts, DatasetError)]
            assert [draft.step for draft in drafts] == list(range(first + number, 10, 2))
            steps |= {draft.step: draft for draft in drafts}
        return steps

    whole, rest = by_two_workers(0), by_two_workers(3)
    for step, draft in rest.items():
        assert np.array_equal(whole[step].numbers, draft.numbers)
        assert torch.equal(whole[step].crops, draft.crops)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="WebDataset fetches with curl")
def test_shards_stream_from_a_web_server(location: str) -> None:
    handler = partial(_Silent, directory=location)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        fetched = batches([open_shards(address)], SCHEDULE)
        server.shutdown()
    for near, far in zip(batches([open_shards(location)], SCHEDULE), fetched, strict=True):
        assert torch.equal(near.pixels, far.pixels)


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_processes_read_shards_of_their_own(location: str) -> None:
    shards = open_shards(location)
    numbers = [
        {
            int(n)
            for batch in batches([shards], replace(SCHEDULE, epochs=1, processes=2, process=rank))
            for n in batch.numbers
        }
        for rank in (0, 1)
    ]
    assert not numbers[0] & numbers[1]
    assert all(len(found) == 20 for found in numbers)


def test_rare_ages_are_preferred_and_a_share_is_kept(location: str) -> None:
    """As with the crop cache: with balance 1 thirty children and ten old people are met equally often."""
    shards = open_shards(location)
    ages = np.zeros(101, dtype=int)
    ages[10], ages[80] = 30, 10
    streamed = Streamed([replace(shards, ages=tuple(ages.tolist()))], replace(SCHEDULE, balance=1.0))
    assert streamed.times[0][10] * 30 == pytest.approx(20)
    assert streamed.times[0][80] * 10 == pytest.approx(20)
    half = Streamed([replace(shards, share=0.5)], SCHEDULE)
    assert half.steps_per_epoch == 2


@pytest.mark.training
def test_the_loop_learns_from_shards_and_resumes_exactly(location: str, tmp_path: Path) -> None:
    shards = [open_shards(location)]
    recipe = replace(RECIPE, fit=replace(FIT, epochs=1, sizes=((0.0, 48),)))
    whole = fit(recipe, shards, DATA, tmp_path / "whole").state_dict()
    with pytest.raises(Interrupted):
        fit(recipe, shards, DATA, tmp_path / "parts", stop_at=2)
    resumed = fit(recipe, shards, DATA, tmp_path / "parts", resume=True).state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_wrong_shards_are_one_sentence(location: str) -> None:
    with pytest.raises(DatasetError, match="No shards at /nowhere"):
        open_shards("/nowhere")
    with pytest.raises(DatasetError, match="no part 'test'"):
        open_shards(location, "test")
    with pytest.raises(DatasetError, match="which would teach it blur"):
        open_shards(location, size=1024)
    shards = open_shards(location)
    with pytest.raises(DatasetError, match="4 shards are too few for 5 readers"):
        batches([shards], SCHEDULE, workers=5)
    no_tar = b"This is no tar file."
    Path(shards.urls[2]).write_bytes(no_tar)
    described = replace(shards, sha256=(hashlib.sha256(no_tar).hexdigest(),) * 4)
    with pytest.raises(DatasetError, match=r"A shard cannot be read: .*"):
        batches([replace(described, urls=(shards.urls[2],) * 4)], SCHEDULE)
    Path(shards.urls[2]).unlink()
    with pytest.raises(DatasetError, match=r"A shard cannot be read: .*000002\.tar"):
        batches([shards], SCHEDULE)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_is_not_the_one_written_is_refused(location: str, workers: int) -> None:
    """Even where it is a sound tar file with the same names: here one letter of one label is another."""
    shards = open_shards(location)
    path = Path(shards.urls[2])
    content = path.read_bytes()
    changed = content.replace(b'"age": ', b'"age":1', 1)
    assert len(changed) == len(content)
    assert changed != content
    path.write_bytes(changed)
    with pytest.raises(DatasetError, match=r"train-000002\.tar' is damaged or changed"):
        batches([shards], SCHEDULE, workers=workers)


def test_no_crop_of_a_changed_shard_is_used(location: str) -> None:
    """A shard that is cut off in its last bytes gives nothing, not even its sound first crops."""
    shards = open_shards(location)
    for url in shards.urls:
        Path(url).write_bytes(Path(url).read_bytes()[:-1])
    stream = Streamed([shards], SCHEDULE).batches(0, 0)
    with pytest.raises(DatasetError, match="damaged or changed"):
        next(stream)
