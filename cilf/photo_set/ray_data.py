"""Photo sets past one machine: `python -m cilf predict … --engine ray`, on Ray Data (extra `ray`).

Every actor holds an estimator of its own and gives the rows that `cilf.photo_set.pipeline` gives. Ray starts an actor
that is lost again and has the photos that it had in work predicted once more, a few times at most.
"""

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow

from cilf.errors import CilfError, PhotoError, UsageError
from cilf.photo_set.files import PHOTO_SUFFIXES, find_photos
from cilf.photo_set.pipeline import predict_photo
from cilf.photo_set.table import parquet_schema, plain_row
from cilf.prediction import NoFace

if TYPE_CHECKING:
    from ray.data import Dataset

    from cilf.estimator import AgeEstimator

PATH = "path"  # the column of addresses

# Photos of a task, which are predicted once more when its actor is lost; rows of a file, unless there are fewer.
BLOCK = 64
FILE = 100_000

# How often they are predicted once more: a photo that ends every process that opens it must not keep a cluster busy
# for ever.
RETRIES = 3


@dataclass(frozen=True)
class RayConfig:
    """What each actor loads, and how it predicts; see `cilf.AgeEstimator`. `actors` of None takes one for each
    processor of the cluster, or for each GPU."""

    weights: str | None = None
    revision: str | None = None
    device: str = "cpu"
    no_face: NoFace = "skip"
    actors: int | None = None

    def estimator(self, device: str = "cpu") -> "AgeEstimator":
        """Load the estimator."""
        from cilf.estimator import AgeEstimator

        return AgeEstimator.from_pretrained(self.weights, revision=self.revision, device=device)


def predict_dataset(sources: Iterable[str], output: str, config: RayConfig) -> int:
    """Predict the photos of a data set of any size into a folder of Parquet files; rows come in any order.

    Args:
        sources: files and folders as `find_photos` takes them; addresses of files and folders in an object store, as
            `s3://bucket/photos`, of any kind that fsspec knows; both with `*`; or Parquet files with a column `path` of
            such addresses of files.
        output: a folder that does not exist yet, here or in an object store.
        config: see `RayConfig`.

    Returns:
        The number of rows.

    Raises:
        UsageError: Ray is not installed, the output exists and is not empty, or an address or the cluster cannot be
            reached.
        CilfError: the weights or the detector fail, or Ray does.
    """
    # Ray reports how it is used to its makers, unless it is told not to before it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import fsspec
        import ray
        from ray.data import ActorPoolStrategy, DataContext
    except ImportError as error:
        raise UsageError(
            "the engine ray needs Ray Data; install it with `pip install -e '.[ray]'`"
        ) from error
    with _in_a_sentence(f"'{output}'"):
        system, folder = fsspec.core.url_to_fs(output)
        is_new = not system.exists(folder) or (system.isdir(folder) and not system.find(folder))
    if not is_new:
        raise UsageError(f"'{output}' exists; remove it, or name another folder for the table")
    config.estimator()  # what is wrong with the weights comes out before a folder is made
    with _in_a_sentence("the cluster"):
        ray.init(
            ignore_reinit_error=True,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    DataContext.get_current().enable_progress_bars = sys.stderr.isatty()
    on_gpu = config.device.startswith("cuda")
    most = max(1, int(ray.cluster_resources().get("GPU" if on_gpu else "CPU", 1)))
    try:
        rows = _addresses(sources).map_batches(
            _Actor,
            fn_constructor_args=(config,),
            compute=ActorPoolStrategy(min_size=config.actors or 1, max_size=config.actors or most),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            num_gpus=1 if on_gpu else None,
            max_task_retries=RETRIES,
        )
        rows.write_parquet(output, min_rows_per_file=FILE)
        return int(ray.data.read_parquet(output).count())
    except ray.exceptions.RayError as error:
        raise _cause(error) from error


class _Actor:
    """An estimator in a process of its own: addresses in, rows out."""

    def __init__(self, config: RayConfig) -> None:
        self._config = config
        self._estimator = config.estimator(config.device)

    def __call__(self, batch: pyarrow.Table) -> pyarrow.Table:
        rows: list[dict[str, Any]] = []
        for address in batch[PATH].to_pylist():
            name = os.fsdecode(address)
            photo = partial(_content, name) if _is_remote(name) else Path(name)
            rows += predict_photo(self._estimator, name, photo, no_face=self._config.no_face).rows
        return pyarrow.Table.from_pylist(list(map(plain_row, rows)), schema=parquet_schema())


def _addresses(sources: Iterable[str]) -> "Dataset":
    """All photos' addresses, `BLOCK` of them in a block; as bytes, since a file's name may be no text."""
    import ray

    listed = chain.from_iterable(map(_listed, sources))
    table = pyarrow.table({PATH: pyarrow.array(map(os.fsencode, listed), pyarrow.binary())})
    if not len(table):
        raise UsageError(
            "no photo was found; name photos, folders with photos, or Parquet files of addresses"
        )
    return ray.data.from_arrow([table.slice(start, BLOCK) for start in range(0, len(table), BLOCK)])


def _listed(source: str) -> Iterator[str]:
    with _in_a_sentence(f"'{source}'"):
        yield from _found(source)


def _found(source: str) -> Iterator[str]:
    import fsspec

    if source.lower().endswith(".parquet"):
        yield from _read_addresses(source)
        return
    if not (_is_remote(source) or "*" in source):
        yield from (name for name, _ in find_photos(source))
        return
    system, root = fsspec.core.url_to_fs(source)
    paths = system.glob(root) if "*" in root else [root]
    for path in sorted(paths):
        inside = sorted(system.find(path)) if system.isdir(path) else [path]
        for each in inside:
            if each == path or _is_photo(each.removeprefix(path)):
                yield system.unstrip_protocol(each) if _is_remote(source) else each


@contextmanager
def _in_a_sentence(what: str) -> Iterator[None]:
    """Say what cannot be reached: every kind of store has its own errors, and one without its package none of them."""
    try:
        yield
    except CilfError:
        raise
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{what} cannot be reached ({why}); check the address") from error


def _read_addresses(source: str) -> list[str]:
    import fsspec
    from pyarrow import parquet

    try:
        with fsspec.open(source, "rb") as file:
            addresses: list[Any] = parquet.read_table(file, columns=[PATH])[PATH].to_pylist()
    except (OSError, ValueError, LookupError) as error:
        raise UsageError(f"'{source}' is no Parquet file with a column '{PATH}' of addresses") from error
    for row, address in enumerate(addresses):
        if not isinstance(address, str):
            raise UsageError(
                f"row {1 + row} of '{source}' has no address but {address!r}; leave such rows out"
            )
    return addresses


def _is_photo(path: str) -> bool:
    inside = PurePosixPath(path)
    hidden = any(part.startswith(".") for part in inside.parts)
    return not hidden and inside.suffix.lower() in PHOTO_SUFFIXES


def _is_remote(address: str) -> bool:
    return "://" in address


@contextmanager
def _content(address: str) -> Iterator[bytes]:
    import fsspec

    try:
        with fsspec.open(address, "rb") as file:
            content = bytes(file.read())
    except Exception as error:  # every kind of store has its own
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise PhotoError(f"'{address}' cannot be read ({what}); check the address") from error
    yield content


def _cause(error: BaseException) -> CilfError:
    """The error of ours that Ray passes on, or a sentence on Ray's own."""
    cause: BaseException | None = error
    while cause is not None:
        inner = getattr(cause, "cause", None)
        if isinstance(cause, CilfError) or isinstance(inner, CilfError):
            return CilfError(str(inner if isinstance(inner, CilfError) else cause))
        cause = cause.__cause__
    last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return CilfError(f"Ray gave up ({last}); the other machines' logs have the details")
