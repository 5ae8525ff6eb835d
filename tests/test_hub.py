"""Checkpoints from the Hugging Face Hub, against a stand-in for it: what arrives, what is kept, and what is said when
something goes wrong."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cilf import hub as door
from cilf.checkpoint import CARD, CONFIG, REPORT, WEIGHTS, Checkpoint, load, read_config, save
from cilf.errors import WeightsError
from tests import tiny
from tests.hub import READER, Fault, Hub, hub, reach

NAME = "somebody/age-of-faces"
CONTENT = "GET /large/"  # how a request for the weights begins


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("first"), seed=1)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("second"), seed=2)


def checkpoint(folder: Path, seed: int) -> Path:
    """A whole one whose weights differ from seed to seed."""
    model = tiny.model()
    model.towers.clip.logit_scale.data += seed
    save(folder, model, tiny.ensemble(), dataclasses.replace(tiny.CHECKPOINT, training={"seed": seed}))
    report = {"weights_sha256": read_config(folder).sha256, "all": {"mae": 4.5}}
    (folder / REPORT).write_text(json.dumps(report))
    (folder / CARD).write_text("# Age of faces\n")
    return folder


@pytest.fixture
def there(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub() as held:
        reach(held, monkeypatch, tmp_path)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        monkeypatch.setattr(door, "PATIENCE", 600.0)  # a busy machine is no failure
        held.add(NAME, folder)
        yield held


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


def seed(checkpoint: Checkpoint) -> int:
    return int(checkpoint.config.training["seed"])


def refused(name: str = NAME, revision: str | None = None) -> str:
    """What is said when the checkpoint cannot be had: one sentence."""
    with pytest.raises(WeightsError) as caught:
        load(name, revision=revision)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def half_files(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.suffix == ".incomplete"]


def bend(file: Path) -> None:
    """Alter one bit of a cached file, and keep its size."""
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def weights_in(cache: Path) -> Path:
    [file] = cache.rglob(f"snapshots/*/{WEIGHTS}")
    return file


class TestArriving:
    def test_weights_configuration_report_and_card(self, there: Hub) -> None:
        checkpoint = load(NAME)
        assert seed(checkpoint) == 1
        assert checkpoint.report == {"weights_sha256": checkpoint.config.sha256, "all": {"mae": 4.5}}
        assert checkpoint.card == "# Age of faces\n"
        assert NAME in checkpoint.source

    def test_what_is_there_is_not_downloaded_again(self, there: Hub) -> None:
        load(NAME)
        before = there.downloads()
        assert seed(load(NAME)) == 1
        assert there.downloads() == before

    def test_of_a_new_commit_only_what_has_changed(self, there: Hub, folder: Path) -> None:
        load(NAME)
        there.asked.clear()
        there.add(NAME, folder, **{CARD: b"# Another card\n"})
        assert load(NAME).card == "# Another card\n"
        assert not [line for line in there.asked if line.startswith(CONTENT)]
        assert [line.rpartition("/")[2] for line in there.downloads()] == [CARD]

    @pytest.mark.slow
    def test_branch_tag_and_commit(self, there: Hub, other: Path) -> None:
        first = there.repositories[f"models/{NAME}"].head
        there.repositories[f"models/{NAME}"].tags["v1"] = first
        second = there.add(NAME, other)
        seeds = {None: 2, "main": 2, "v1": 1, first: 1, second: 2}
        assert {revision: seed(load(NAME, revision=revision)) for revision in seeds} == seeds

    def test_progress_is_told_in_bytes(self, there: Hub, folder: Path) -> None:
        told: list[tuple[int, int]] = []
        load(NAME, progress=lambda done, total: told.append((done, total)))
        counts = [done for done, _ in told]
        assert counts == sorted(counts)
        # The configuration was fetched before, to see whether the rest is worth it.
        all_but_one = sum(path.stat().st_size for path in folder.iterdir() if path.name != CONFIG)
        assert told[-1] == (all_but_one, all_but_one)

    def test_a_repository_of_something_else_is_not_downloaded_whole(self, there: Hub, folder: Path) -> None:
        there.add("somebody/bert", folder, **{CONFIG: b'{"architectures": ["Bert"]}'})
        assert "not a CILF configuration" in refused("somebody/bert")
        assert not [line for line in there.asked if line.startswith(CONTENT)]

    def test_a_repository_without_weights(self, there: Hub, folder: Path) -> None:
        there.add("somebody/bare", folder)
        del there.repositories["models/somebody/bare"].files[WEIGHTS]
        assert f"{WEIGHTS}' is missing" in refused("somebody/bare")


class TestBrokenWay:
    def test_a_download_that_is_cut_goes_on_where_it_ended(self, there: Hub, cache: Path) -> None:
        there.faults.append(Fault(CONTENT, times=1, cut=200_000))
        assert seed(load(NAME)) == 1
        assert any("bytes=" in each for each in there.downloads())  # of several that run at once
        assert not half_files(cache)

    def test_a_download_that_is_reset_begins_again(self, there: Hub, cache: Path) -> None:
        there.faults.append(Fault(CONTENT, times=2, cut=200_000, reset=True))
        assert seed(load(NAME)) == 1
        assert not half_files(cache)

    @pytest.mark.slow
    @pytest.mark.parametrize("reset", [False, True])
    def test_of_one_that_never_ends_no_half_file_stays(self, there: Hub, cache: Path, reset: bool) -> None:
        fault = Fault(CONTENT, cut=1000, reset=reset)
        there.faults.append(fault)
        assert "broke off" in refused()
        assert not half_files(cache)
        assert not list(cache.rglob(WEIGHTS))
        fault.times = 0
        assert seed(load(NAME)) == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("where", ["GET /api/models/", "/tree/", f"HEAD .*{WEIGHTS}", CONTENT])
    def test_a_failure_of_the_hub_that_passes(self, there: Hub, where: str) -> None:
        there.faults.append(Fault(where, times=2, status=503))
        assert seed(load(NAME)) == 1

    @pytest.mark.parametrize("where", ["GET /api/models/", CONTENT])
    def test_a_failure_of_the_hub_that_lasts(self, there: Hub, where: str) -> None:
        there.faults.append(Fault(where, status=502))
        assert "failure of its own (502)" in refused()

    def test_patience_has_an_end(self, there: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(door, "PATIENCE", -1.0)
        there.faults.append(Fault("GET /api/models/", times=1, status=503))
        assert "(503)" in refused()


class TestDamage:
    def test_on_the_way(self, there: Hub) -> None:
        there.faults.append(Fault(CONTENT, times=1, altered=True))
        assert seed(load(NAME)) == 1

    @pytest.mark.slow
    def test_on_the_hub_is_said_and_is_no_trap_once_it_is_mended(self, there: Hub) -> None:
        fault = Fault(CONTENT, altered=True)
        there.faults.append(fault)
        sentence = refused()
        assert "on the Hugging Face Hub itself" in sentence
        assert "another revision" in sentence
        fault.times = 0
        assert seed(load(NAME)) == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("file", [WEIGHTS, CONFIG, REPORT])
    @pytest.mark.parametrize("links", [True, False])
    def test_in_the_cache(
        self, there: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, links: bool, file: str
    ) -> None:
        # Where the cache can have no links, the client's own `force_download` would leave the damaged file.
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_SYMLINKS", not links)
        load(NAME)
        damaged = weights_in(cache).with_name(file)
        assert damaged.is_symlink() == links
        if file == WEIGHTS:
            bend(damaged)
        else:
            damaged.write_bytes(damaged.read_bytes().replace(b"{", b"[", 1))
        assert seed(load(NAME)) == 1

    def test_in_the_cache_without_a_network(
        self, there: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load(NAME)
        bend(weights_in(cache))
        with monkeypatch.context() as offline:
            offline.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
            sentence = refused()
        assert "was damaged and is removed" in sentence
        assert "HF_HUB_OFFLINE" in sentence
        assert seed(load(NAME)) == 1

    def test_in_a_cache_that_may_not_be_written(
        self, there: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load(NAME)
        bend(weights_in(cache))

        def deny(self: Path, missing_ok: bool = False) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "unlink", deny)
        assert "cannot be removed (Permission denied)" in refused()


class TestOffline:
    def test_the_cache_answers_alone(self, there: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        there.repositories[f"models/{NAME}"].tags["v1"] = there.repositories[f"models/{NAME}"].head
        for revision in (None, "v1"):
            load(NAME, revision=revision)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        there.asked.clear()
        for revision in (None, "v1", there.repositories[f"models/{NAME}"].head):
            assert seed(load(NAME, revision=revision)) == 1
        assert not there.asked

    def test_where_nobody_answers_too(self, there: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        load(NAME)
        monkeypatch.setattr(
            "huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9"
        )  # nothing listens there
        assert seed(load(NAME)) == 1
        assert "cannot be reached" in refused("somebody/else")

    def test_and_where_the_hub_fails(self, there: Hub) -> None:
        load(NAME)
        there.faults.append(Fault("GET /api/", status=500))
        assert seed(load(NAME)) == 1

    def test_what_is_not_in_the_cache(self, there: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        load(NAME)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert "HF_HUB_OFFLINE is set" in refused(revision="v9")
        assert "HF_HUB_OFFLINE is set" in refused("somebody/else")


class TestRefusals:
    def test_a_revision_that_is_not_there(self, there: Hub) -> None:
        assert "has no revision 'v9'" in refused(revision="v9")

    def test_a_repository_that_is_not_there(self, there: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "neither a folder nor a repository" in refused("somebody/else")
        monkeypatch.setenv("HF_TOKEN", READER)
        assert "neither a folder nor a repository" in refused("somebody/else")

    def test_a_gated_repository(self, there: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        there.repositories[f"models/{NAME}"].gated = True
        assert "asks for permission" in refused()
        monkeypatch.setenv("HF_TOKEN", READER)
        assert "asks for permission" in refused()

    def test_a_token_that_is_not_valid(self, there: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
        assert "does not accept the access token" in refused()

    @pytest.mark.parametrize(
        ("status", "sentence"), [(403, "refuses"), (429, "no more requests"), (418, "it answers 418")]
    )
    def test_other_answers(self, there: Hub, status: int, sentence: str) -> None:
        there.faults.append(Fault("GET /api/models/", status=status))
        assert sentence in refused()

    def test_a_revision_of_what_has_none(self, folder: Path) -> None:
        assert "has no revision 'v1'" in refused(str(folder), "v1")
        with pytest.raises(WeightsError, match="bundled checkpoint has no revision"):
            load(revision="v1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "sentence"), [("", "has no revision 'v9'"), ("http://127.0.0.1:9", "cannot be reached")]
)
def test_on_the_command_line_it_is_one_line_without_a_stack_trace(
    address: str, sentence: str, folder: Path, tmp_path: Path
) -> None:
    with hub() as held:
        held.add(NAME, folder)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")} | {
            "HF_ENDPOINT": address or held.address,
            "HF_HOME": str(tmp_path),
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        command = [sys.executable, "-m", "cilf", "predict", "x.jpg", "--weights", NAME, "--revision", "v9"]
        done = subprocess.run(
            command,
            env=environment,
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
