"""Photo sets on Ray: the rows of the local engine, whatever happens to an actor."""

import os
import signal
import threading
from pathlib import Path

import pandas as pd
import pytest

from cilf import AgeEstimator, UsageError
from cilf.errors import CilfError, WeightsError
from cilf.photo_set import ray_data
from cilf.photo_set.files import find_photos
from cilf.photo_set.pipeline import predict_paths
from cilf.photo_set.ray_data import RayConfig, predict_dataset
from cilf.photo_set.table import write_table
from tests.photo_set.generated import generated_photos

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")

PHOTOS = 40


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few photos are several tasks."""
    monkeypatch.setattr(ray_data, "BLOCK", 8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "photos"
    folder.mkdir()
    for name, content in generated_photos(PHOTOS, broken=(3,)):
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def local(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    output = tmp_path_factory.mktemp("local") / "ages.parquet"
    write_table(predict_paths(AgeEstimator.from_pretrained(), photos), output)
    return pd.read_parquet(output)


def check(rows: pd.DataFrame, local: pd.DataFrame) -> None:
    rows = rows.sort_values(["path", "face"], ignore_index=True)
    pd.testing.assert_frame_equal(rows, local, check_exact=False, atol=1e-4)


def test_two_actors_of_which_one_is_killed_give_the_rows_of_the_local_engine(
    photos: Path, local: pd.DataFrame, tmp_path: Path
) -> None:
    output = tmp_path / "ages.parquet"
    killed: list[int] = []
    done = threading.Event()

    def kill_an_actor() -> None:
        while not done.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                title = " ".join(process.cmdline())
                if "MapWorker" in title and "__init__" not in title and "restart" not in title:
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(process.pid)
                    return

    thread = threading.Thread(target=kill_an_actor)
    thread.start()
    rows = predict_dataset([str(photos)], str(output), RayConfig(actors=2))
    done.set()
    thread.join()
    assert killed
    assert rows == len(local)
    check(pd.read_parquet(output), local)


def test_addresses_in_a_parquet_file_and_in_a_store(
    photos: Path, local: pd.DataFrame, tmp_path: Path
) -> None:
    paths = [name for name, _ in find_photos(photos)]
    addresses = tmp_path / "addresses.parquet"
    pd.DataFrame({"path": paths[:30]}).to_parquet(addresses)
    pattern = f"file://{photos}/003*.jpg"
    output = tmp_path / "ages.parquet"
    assert predict_dataset([str(addresses), pattern], str(output), RayConfig(actors=1)) == len(local)
    rows = pd.read_parquet(output)
    rows["path"] = rows["path"].str.removeprefix("file://")
    check(rows, local)


def test_an_output_that_exists_is_kept(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "ages.parquet").write_bytes(b"")
    with pytest.raises(UsageError, match="exists; remove it"):
        predict_dataset([str(photos)], str(tmp_path), RayConfig())


def test_a_row_without_an_address_is_named(tmp_path: Path) -> None:
    addresses = tmp_path / "addresses.parquet"
    pd.DataFrame({"path": ["a.jpg", None]}).to_parquet(addresses)
    with pytest.raises(UsageError, match=r"row 2 of .* has no address"):
        predict_dataset([str(addresses)], str(tmp_path / "ages.parquet"), RayConfig())


@pytest.mark.parametrize("address", ["s3://nobody-has-this/photos", "foo://photos"])
def test_an_address_that_cannot_be_reached_is_one_sentence(address: str, tmp_path: Path) -> None:
    output = tmp_path / "ages"
    with pytest.raises(CilfError, match=address) as error:
        predict_dataset([address], str(output), RayConfig())
    assert "\n" not in str(error.value)
    assert not output.exists()


def test_weights_that_cannot_be_loaded_leave_no_folder(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    with pytest.raises(WeightsError):
        predict_dataset([str(photos)], str(tmp_path / "ages"), RayConfig(str(tmp_path / "weights")))
    assert not (tmp_path / "ages").exists()
