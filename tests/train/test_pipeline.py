"""prepare → fit → calibrate → evaluate → card → publish, by command, on a small generated set; and back again."""

import json
from pathlib import Path

import pytest

from cilf import AgeEstimator
from cilf.checkpoint import load
from tests.hub import TOKEN, hub, reach
from train.__main__ import main
from train.fit.recipe import _captions_vocabulary as captions_vocabulary

pytestmark = [pytest.mark.usefixtures("quick_calibration"), pytest.mark.training]


def test_from_photos_to_a_model_card(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, split = ["--cache", str(work / "crops")], ["--split", str(work / "split.csv")]
    data = ["--data", f"utkface={work / 'UTKFace'}"]
    recipe, run = ["--recipe", str(work / "tiny.toml")], str(work / "run")
    views = ["--views", str(work / "views"), "--processes", "1"]
    checkpoint, report = work / "checkpoint", work / "checkpoint" / "report.json"
    assert main(["prepare", *data, *cache, "--size", "48", "--margin", "6", "--processes", "1"]) == 0
    assert main(["fit", *recipe, *cache, *split, "--output", run]) == 0
    assert (
        main(["calibrate", *recipe, "--run", run, *cache, *split, *views, "--output", str(checkpoint)]) == 0
    )
    page = (work / "run" / "report.html").read_text()
    assert "Do not publish: contains pictures of the data set" in page
    assert "split-conformal" in page
    training = load(checkpoint).config.training
    assert training["recipe"]["fit"]["batch_size"] == 4
    assert {"seed", "commit", "data_sha256", "versions"} <= training.keys()
    evaluate = ["evaluate", *data, *split, "--weights", str(checkpoint), "--report", str(report)]
    ours = str(work / "ours.csv")
    assert main([*evaluate, "--predictions", ours]) == 0
    assert main([*evaluate, "--rival", f"itself={ours}"]) == 0
    assert main(["card", str(checkpoint)]) == 0
    found = json.loads(report.read_text())
    assert found["rivals"]["itself"]["all"]["gain"] == pytest.approx(0, abs=1e-9)
    assert found["all"]["count"] == 6
    assert len(found["test_looks"]) == 2
    assert "| all | 6 |" in capsys.readouterr().out
    estimator = AgeEstimator(load(checkpoint))
    assert estimator.report == found
    assert "model-index" in estimator.card
    photo = next((work / "UTKFace").iterdir())
    [face] = estimator.predict(photo, no_face="whole")
    assert 0 <= face.age <= 100
    with hub() as there:
        reach(there, monkeypatch, work)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert main(["publish", "--repo", "user/tiny", "--weights", str(checkpoint), "--tag", "v1"]) == 0
        assert list(there.repositories) == ["models/user/tiny"]
        published = AgeEstimator.from_pretrained("user/tiny", revision="v1")
    assert 'from_pretrained("user/tiny")' in published.card
    assert published.report is not None
    assert published.report["all"] == found["all"]
    [again] = published.predict(photo, no_face="whole")
    assert again.age == face.age


def test_a_second_stage_is_mixed_with_the_weights_it_started_from(work: Path) -> None:
    cache, split = ["--cache", str(work / "crops")], ["--split", str(work / "split.csv")]
    recipe, first, second = ["--recipe", str(work / "tiny.toml")], work / "first", work / "second"
    assert (
        main(["prepare", "--data", f"utkface={work / 'UTKFace'}", *cache, "--size", "48", "--margin", "6"])
        == 0
    )
    assert main(["fit", *recipe, *cache, *split, "--output", str(work / "run")]) == 0
    views = ["--views", str(work / "views"), "--processes", "1"]
    calibrate = ["calibrate", *recipe, "--run", str(work / "run"), *cache, *split, *views]
    assert main([*calibrate, "--output", str(first)]) == 0
    start = ["--start", str(first)]
    assert main(["fit", *recipe, *cache, *split, *start, "--output", str(work / "run")]) == 0
    assert main([*calibrate, *start, "--output", str(second)]) == 0
    training = load(second).config.training
    assert 0 <= training["share_of_start"] < 1
    assert (
        training["start"]["recipe"] == load(first).config.training["recipe"]
    )  # the first stage can be repeated too


def test_where_no_text_learns_a_run_keeps_the_words_of_its_start(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, split = ["--cache", str(work / "crops")], ["--split", str(work / "split.csv")]
    views = ["--views", str(work / "views"), "--processes", "1"]
    first, run = work / "first", ["--run", str(work / "run")]
    recipe = ["--recipe", str(work / "tiny.toml"), *cache, *split]
    assert main(["fit", *recipe, "--output", str(work / "run")]) == 0
    assert main(["calibrate", *recipe, *run, *views, "--output", str(first)]) == 0
    words_of_start = load(first).config.model.clip.words

    ids, words = captions_vocabulary()
    more = tuple(sorted({*ids, *range(40_000, 40_026)} - {0})), (*words, "zyzzyva")
    monkeypatch.setattr("train.fit.recipe._captions_vocabulary", lambda: more)
    frozen = '[fit.rates]\n"towers.clip" = 0.0\n"towers.clip.visual" = 1.0\n'
    (work / "frozen.toml").write_text((work / "tiny.toml").read_text() + frozen)
    recipe = ["--recipe", str(work / "frozen.toml"), *cache, *split, "--start", str(first)]
    assert main(["fit", *recipe, "--output", str(work / "run")]) == 0
    assert main(["calibrate", *recipe, *run, *views, "--output", str(work / "second")]) == 0
    assert load(work / "second").config.model.clip.words == words_of_start == words


def test_training_from_shards(work: Path) -> None:
    """The training photos come from tar files alone; the cache holds no crop of theirs."""
    cache, split = ["--cache", str(work / "crops of tune")], ["--split", str(work / "split.csv")]
    data, size = ["--data", f"utkface={work / 'UTKFace'}"], ["--size", "48", "--margin", "6"]
    shards = ["--shards", str(work / "shards")]
    assert main(["prepare", *data, *split, *shards, *size, "--processes", "1"]) == 0
    tune = work / "tune"
    tune.mkdir()
    names = [row.split(",")[0] for row in (work / "split.csv").read_text().splitlines() if ",tune," in row]
    for name in names:
        (work / "UTKFace" / name).rename(tune / name)
    assert main(["prepare", "--data", f"utkface={tune}", *cache, *size, "--processes", "1"]) == 0
    fit = ["fit", "--recipe", str(work / "tiny.toml"), *cache, *split, "--output", str(work / "run")]
    assert main([*fit, *shards]) == 0
    assert (work / "run" / "report.html").is_file()
    assert main([*fit, "--shards", str(work / "nowhere")]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prepare", "--data", "nothing=x"], "Unknown data set 'nothing'"),
        (["evaluate", "--data", "utkface=x", "--split", "none.csv"], "none.csv does not exist"),
        (["prepare", "--data", "utkface=x", "--split", "x.csv"], "--split keeps parts apart in shards alone"),
        (
            ["calibrate", "--weights", "a", "--start", "b", "--split", "x.csv", "--output", "c"],
            "leave it out with --weights",
        ),
        (
            ["evaluate", "--data", "utkface=x", "--zero-shot", "--rival", "a=b.csv"],
            "leave them out with --zero-shot",
        ),
        (["fit", "--recipe", "no-such", "--split", "none.csv"], "no-such"),
        (["evaluate", "--data", "utkface=x", "--part", "tune"], "--part is one of a split"),
        (["evaluate", "--data", "utkface=x", "--clip", "a/b", "--weights", "c"], "give one of them"),
        (
            ["evaluate", "--data", "utkface=x", "--zero-shot", "--views", "v"],
            "leave them out with --zero-shot",
        ),
        (
            [
                "cross-dataset",
                "--train",
                "appa-real",
                "--measure",
                "clap2016",
                "--output",
                "x",
                "--split",
                "x.csv",
            ],
            "no two sets of other photos",
        ),
    ],
)
def test_wrong_input_is_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    message = capsys.readouterr().err.strip()
    assert said in message
    assert "\n" not in message
