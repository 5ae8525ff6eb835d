"""Side by side with other systems, on common photos only."""

from pathlib import Path

import pandas as pd
import pytest

from train.data.datasets import DatasetError
from train.evaluate.comparison import compare, read_predictions, read_rival, table


def test_only_common_photos_count(tmp_path: Path) -> None:
    file = tmp_path / "rival.csv"
    file.write_text(
        "filename,age_true,age_pred,detected\na.jpg,5,9,1\nb.jpg,70,60,1\nelsewhere.jpg,30,30,1\n"
    )
    ours = pd.DataFrame(
        {"name": ["a.jpg", "b.jpg", "c.jpg"], "truth": [5.0, 70.0, 30.0], "age": [6.0, 66.0, 99.0]}
    ).assign(subject=None)
    found = compare(ours, {"rival": read_rival(file)})["rival"]
    assert found["all"]["count"] == 2
    assert (found["all"]["mae"], found["all"]["rival_mae"], found["all"]["gain"]) == pytest.approx(
        (2.5, 7, 4.5)
    )
    assert found["60+"]["gain"] == pytest.approx(6)
    assert found["13–17"]["count"] == 0
    between = compare(ours.assign(truth=[17.5, 70.0, 30.0]), {"rival": read_rival(file)})["rival"]
    assert between["13–17"]["count"] == 1
    assert "| rival | 0–12 | 1 | 4.00 | 1.00 |" in table({"rival": found})


def test_a_rival_of_other_photos_is_one_sentence() -> None:
    ours = pd.DataFrame({"name": ["a.jpg"], "truth": [5.0], "age": [6.0], "subject": [None]})
    known, stranger = pd.Series({"a.jpg": 9.0}), pd.Series({"b.jpg": 9.0})
    with pytest.raises(
        DatasetError, match=r"of stranger .* no photo in common; .* like b\.jpg, .* like a\.jpg\.$"
    ):
        compare(ours, {"known": known, "stranger": stranger})
    with pytest.raises(DatasetError, match="no photo in common"):
        compare(ours, {"empty": stranger[:0]})


def test_photos_for_which_a_system_gives_no_age_are_not_compared(tmp_path: Path) -> None:
    file = tmp_path / "rival.csv"
    file.write_text("filename,age_true,age_pred\na.jpg,5,9\nb.jpg,70,\n")
    ours = pd.DataFrame({"name": ["a.jpg", "b.jpg"], "truth": [5.0, 70.0], "age": [6.0, 66.0]})
    found = compare(ours.assign(subject=None), {"rival": read_rival(file)})["rival"]
    assert found["all"]["count"] == 1
    assert found["all"]["rival_mae"] == pytest.approx(4)
    assert list(read_predictions(file).index) == ["a.jpg"]


@pytest.mark.parametrize(
    "content",
    [None, "a,b\n1,2\n", "filename,age_pred\na.jpg,old\n", "filename,age_pred\na.jpg,5\na.jpg,6\n"],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "rival.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(DatasetError, match=r"rival\.csv"):
        read_rival(file)
