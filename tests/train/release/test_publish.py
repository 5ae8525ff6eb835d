"""Publishing a checkpoint and the page, against a stand-in for the Hub; and what a Space reads of the repository."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from cilf.checkpoint import CARD, FILES, GRAPH, REPORT, WEIGHTS, bundled, load
from tests.hub import READER, TOKEN, Fault, Hub, hub, reach
from train.__main__ import main
from train.release.space import FRONT_MATTER, PARTS, README, ROOT, PublishError, files, readme, stage

REPOSITORY = "user/age-of-faces"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, with somebody logged in who may write."""
    with hub() as held:
        reach(held, monkeypatch, tmp_path)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        disable_progress_bars()  # of uploads, which would stand on stderr among what is said there
        yield held
        enable_progress_bars()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled checkpoint, with all its files."""
    return shutil.copytree(bundled(), tmp_path / "checkpoint")


def publish(*arguments: str) -> int:
    return main(["publish", *arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said on stderr when nothing is published: one line."""
    capsys.readouterr()
    assert publish(*arguments) == 2
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    return said


class TestCheckpoint:
    @pytest.mark.slow
    def test_what_is_published_comes_back(self, there: Hub, capsys: pytest.CaptureFixture[str]) -> None:
        assert publish("--repo", REPOSITORY, "--tag", "v1") == 0
        assert f'from_pretrained("{REPOSITORY}", revision="v1")' in capsys.readouterr().out
        held = there.repositories[f"models/{REPOSITORY}"]
        assert set(held.files) == {".gitattributes", *FILES}
        assert len(held.commits) == 2, "one that the Hub makes, and one with everything"
        assert [line for line in there.asked if line.startswith("PUT /large/")]
        found = load(REPOSITORY, revision="v1")
        ours = load()
        assert found.config == ours.config
        assert found.report == ours.report
        assert found.card == ours.card.replace("from_pretrained()", f'from_pretrained("{REPOSITORY}")')

    @pytest.mark.slow
    def test_a_new_version_and_the_same_again(self, there: Hub, folder: Path) -> None:
        for _ in range(2):
            assert publish("--repo", REPOSITORY, "--weights", str(folder)) == 0
        held = there.repositories[f"models/{REPOSITORY}"]
        assert len(held.commits) == 2, "nothing has changed, so there is no new commit"
        (folder / CARD).write_text((folder / CARD).read_text() + "\nA remark.\n")
        there.asked.clear()
        assert publish("--repo", REPOSITORY, "--weights", str(folder)) == 0
        assert held.files[CARD].endswith(b"A remark.\n")
        assert not [line for line in there.asked if line.startswith("PUT")], "the weights are there already"

    def test_a_private_one(self, there: Hub) -> None:
        assert publish("--repo", REPOSITORY, "--private") == 0
        assert "private" in json.dumps(there.repositories[f"models/{REPOSITORY}"].settings)

    def test_a_tag_that_is_taken(self, there: Hub, capsys: pytest.CaptureFixture[str]) -> None:
        assert publish("--repo", REPOSITORY, "--tag", "v1") == 0
        commits = dict(there.repositories[f"models/{REPOSITORY}"].commits)
        assert "has a tag 'v1' already" in refused(capsys, "--repo", REPOSITORY, "--tag", "v1")
        assert there.repositories[f"models/{REPOSITORY}"].commits == commits


class TestUnfit:
    """Nothing of a checkpoint that is not whole reaches the Hub."""

    @pytest.fixture(autouse=True)
    def nothing_is_asked(self, there: Hub) -> Iterator[None]:
        yield
        assert not there.asked

    def say(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
        return refused(capsys, "--repo", REPOSITORY, "--weights", str(folder))

    def test_no_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "is no folder" in self.say(tmp_path / "nowhere", capsys)

    def test_damaged_weights(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        content = bytearray((folder / WEIGHTS).read_bytes())
        content[-5] ^= 1
        (folder / WEIGHTS).write_bytes(content)
        assert "damaged" in self.say(folder, capsys)

    @pytest.mark.parametrize(
        ("file", "command"), [(REPORT, "python -m train evaluate"), (CARD, "python -m train card")]
    )
    def test_a_missing_file(
        self, folder: Path, file: str, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (folder / file).unlink()
        said = self.say(folder, capsys)
        assert f"has no {file}" in said
        assert command in said

    def test_a_graph_that_was_left_behind(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (folder / GRAPH).unlink()
        assert "python -m train export" in self.say(folder, capsys)

    def test_a_report_on_other_weights(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.change(folder / REPORT, "weights_sha256", "0" * 64)
        assert "measures other weights (00000000)" in self.say(folder, capsys)

    def test_a_report_that_is_none(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.change(folder / REPORT, "groups", None)
        assert "is no report" in self.say(folder, capsys)

    @pytest.mark.parametrize("change", [("value: ", "value: 1"), ("model-index", "["), ("---", "")])
    def test_a_card_with_other_figures(
        self, folder: Path, change: tuple[str, str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        card = (folder / CARD).read_text()
        assert change[0] in card
        (folder / CARD).write_text(card.replace(*change))
        assert "gives other figures than report.json" in self.say(folder, capsys)

    def change(self, path: Path, key: str, value: object) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


class TestRefusals:
    @pytest.mark.parametrize("what", ["--repo", "--space"])
    @pytest.mark.parametrize(
        ("token", "said"),
        [
            (None, "nobody is logged in"),
            ("hf_of_nobody", "does not accept the access token (401)"),
            (READER, "does not let this access token write"),
        ],
    )
    def test_who_may_not(
        self,
        there: Hub,
        what: str,
        token: str | None,
        said: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.delenv("HF_TOKEN")
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        assert said in refused(capsys, what, REPOSITORY)
        assert not there.repositories

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("where", "said"),
        [("repos/create", "takes nothing for now (503)"), ("PUT /large", "takes nothing for now (503)")],
    )
    def test_a_failure_of_the_hub(
        self, there: Hub, where: str, said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        there.faults.append(Fault(where, status=503))
        assert said in refused(capsys, "--repo", REPOSITORY)
        assert not any(WEIGHTS in each.files for each in there.repositories.values())

    def test_a_failure_that_passes(self, there: Hub) -> None:
        there.faults.append(Fault("PUT /large", times=2, status=500))
        assert publish("--repo", REPOSITORY) == 0

    def test_nobody_answers(
        self, there: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9"
        )  # nothing listens there
        assert "check the network" in refused(capsys, "--repo", REPOSITORY)
        assert "check the network" in refused(capsys, "--space", REPOSITORY)

    @pytest.mark.parametrize("name", ["name", "user/name/more", "user/na me", "user/-"])
    def test_a_name_that_is_none(self, there: Hub, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert "give user/name" in refused(capsys, "--repo", name)
        assert not there.asked

    def test_options_of_the_other_kind(self, there: Hub, capsys: pytest.CaptureFixture[str]) -> None:
        assert "belong to --repo" in refused(capsys, "--space", REPOSITORY, "--tag", "v1")


@pytest.mark.slow
def test_the_space_gets_what_it_needs_and_loses_what_it_no_longer_has(there: Hub) -> None:
    assert publish("--space", "user/page") == 0
    held = there.repositories["spaces/user/page"]
    held.commit(held.files | {"old.py": b"print('gone')"})
    assert publish("--space", "user/page") == 0
    assert held.settings["sdk"] == "gradio"
    assert set(held.files) - {".gitattributes"} == set(files())
    for name in ("app.py", "cilf/METHOD.md", "checkpoints/compact/model.safetensors"):
        assert held.files[name] == (ROOT / name).read_bytes(), name
    assert held.files[README].decode() == readme()
    assert there.large, "the weights are binary and go to the storage for large files"


def test_only_what_git_controls_is_uploaded(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    for name in ("app.py", "cilf/a.py", "cilf/secret.txt", "tests/test_a.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in (README, "LICENSE", "packages.txt", "requirements.txt"):
        (tmp_path / name).touch()
    tracked = ["app.py", "cilf/a.py", "tests/test_a.py", "README.md"]
    subprocess.run(["git", "add", *tracked], cwd=tmp_path, check=True)
    assert set(files(tmp_path)) == {"app.py", "cilf/a.py", "README.md"}
    with pytest.raises(PublishError, match="checkout"):
        files(tmp_path / "tests")


def test_every_part_is_there() -> None:
    found = files()
    for part in PARTS:
        assert any(name == part or name.startswith(f"{part}/") for name in found), part


def test_the_spaces_front_matter_stands_on_top_of_readme_and_fits_the_pins(tmp_path: Path) -> None:
    stage(tmp_path)
    text = (tmp_path / README).read_text(encoding="utf-8")
    _, front, rest = text.split("---\n", 2)
    assert rest.strip() == (ROOT / README).read_text(encoding="utf-8").strip()
    settings = yaml.safe_load(front)
    assert f"gradio=={settings['sdk_version']}\n" in (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert re.fullmatch(r"3\.\d+", settings["python_version"])
    assert (tmp_path / settings["app_file"]).is_file()
    assert settings["sdk"] == "gradio"
    assert len(settings["short_description"]) <= 60, "the Hub takes no longer one"


def test_the_tree_is_written_for_a_push_by_hand(tmp_path: Path) -> None:
    assert publish("--folder", str(tmp_path / "space")) == 0
    staged = {path.relative_to(tmp_path / "space").as_posix() for path in (tmp_path / "space").rglob("*")}
    assert set(files()) <= staged
    assert (tmp_path / "space" / README).read_text(encoding="utf-8") == readme()


def test_a_readme_that_has_front_matter_keeps_it(tmp_path: Path) -> None:
    """So that a tree pushed to a Space by hand can be published again."""
    text = FRONT_MATTER.format(gradio="6.31.0") + "# CILF\n"
    (tmp_path / README).write_text(text, encoding="utf-8")
    (tmp_path / "requirements.txt").write_text("gradio==6.31.0\n")
    assert readme(tmp_path) == text
