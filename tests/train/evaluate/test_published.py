"""The table of published results: whole, with its sources, and ours only where measured."""

import json
from pathlib import Path

import pytest

from train.__main__ import main
from train.data.datasets import DATASETS
from train.data.protocols import protocols
from train.evaluate.published import NAMES, NOT_MEASURED, measured, published, table

ROOT = Path(__file__).parents[3]


def value(system: str, dataset: str, measure: str = "mae") -> float:
    [found] = [r.value for r in published() if (r.system, r.dataset, r.measure) == (system, dataset, measure)]
    return found


def test_every_result_says_where_it_is_from() -> None:
    for result in published():
        assert result.dataset in DATASETS
        assert result.measure in NAMES
        assert result.status in ("confirmed", "second-hand", "recalled")
        assert result.source
        assert result.paper
        assert result.division
        if result.protocol:
            assert protocols()[result.protocol].dataset == result.dataset


def test_the_systems_that_the_paper_compares_with_are_there() -> None:
    assert value("CILF-CIAE", "morph") == 1.68
    assert value("MCGRL", "morph") == 1.77
    assert value("LRA-GNN", "morph") == 2.21
    systems = " ".join(result.system for result in published())
    for name in ("OrdinalCLIP", "L2RCLIP", "NumCLIP", "MWR", "MiVOLO", "FaRL"):
        assert name in systems


def test_what_nobody_ran_here_is_not_measured() -> None:
    rows = table([]).splitlines()
    ours = [row for row in rows if "| CILF |" in row]
    assert len(ours) == sum(rules.dataset is not None for rules in protocols().values())
    assert all(NOT_MEASURED in row for row in ours)


def test_a_report_of_ours_takes_its_place(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    found = {"dataset": "fgnet", "part": "test", "all": {"mae": 4.25, "cs5": 0.75}}
    report.write_text(json.dumps(found | {"protocol": "fgnet-lopo", "division": "leave one person out"}))
    said = table(measured(report, "CILF tiny"), "fgnet")
    assert "| CILF tiny | MAE, years | 4.25 | measured here: report.json |" in said
    assert "| CILF tiny | CS@5, % | 75.00 |" in said
    assert NOT_MEASURED not in said
    groups = {"age_groups": {"accuracy": 0.5, "one_off": 0.9, "group_mae": 0.6}}
    report.write_text(json.dumps(found | groups | {"dataset": "adience"}))
    assert [(r.measure, r.value) for r in measured(report, "x")] == [
        ("accuracy", 50), ("one_off", 90), ("group_mae", 0.6)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "said"),
    [("datasets", "| `scface` |"), ("protocols", "| `morph-exclusive` |"), ("published", "| CILF-CIAE |")],
)
def test_show(what: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", what]) == 0
    assert said in capsys.readouterr().out


def test_the_bundled_checkpoint_stands_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "published", "--dataset", "utkface"]) == 0
    found = json.loads((ROOT / "checkpoints/compact/report.json").read_text())
    assert f"| CILF compact | MAE, years | {found['all']['mae']:.2f} |" in capsys.readouterr().out
