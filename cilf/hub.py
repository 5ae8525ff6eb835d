"""Fetch files of a Hugging Face Hub repository into the Hub's cache; whatever goes wrong becomes one sentence."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cilf.errors import WeightsError

log = logging.getLogger(__name__)

# Called with the bytes fetched so far and the bytes in all as far as they are known; from other threads too.
Progress = Callable[[int, int], None]

# The Hub's client resumes a broken transfer and repeats some requests by itself, but neither the first request for a
# revision nor a download that the server refuses with 5xx. These two are the seconds for which, and the pauses after
# which, everything is tried again.
PATIENCE = 20.0
PAUSES = (1.0, 2.0, 4.0, 8.0)

LOG_IN = "log in with `hf auth login`"


def fetch(name: str, revision: str | None, files: Sequence[str], progress: Progress | None = None) -> Path:
    """Download files of one commit, or find them in the cache; without a network the cache answers alone.

    Args:
        name: `user/repository`.
        revision: branch, tag or commit; None for the newest commit of `main`.
        files: names of the files; any that the repository does not have is left out.
        progress: called with how far the download is; None draws a bar where stderr is a terminal.

    Returns:
        The commit's folder in the cache; the folder's own name is the commit.

    Raises:
        WeightsError: the Hub refuses or cannot be reached.
    """
    if progress is None:
        with tqdm(desc=name, unit="B", unit_scale=True, leave=False, disable=None) as bar:
            return fetch(name, revision, files, partial(_draw, bar))
    begun = time.monotonic()
    for pause in (*PAUSES, None):
        try:
            return _snapshot(name, revision, files, progress)
        except Exception as error:  # the transports below the client raise errors of their own
            late = time.monotonic() - begun > PATIENCE
            if pause is None or late or not _may_pass(error):
                raise WeightsError(_sentence(name, revision, error)) from error
            log.info("'%s' could not be fetched (%s); trying again in %g s", name, error, pause)
            time.sleep(pause)
    raise AssertionError("the last round returns or raises")


def forget(file: Path) -> None:
    """Remove a file from the cache, with the content that it points to, so that it is downloaded again.

    The client's `force_download` is not enough: where the cache cannot have symbolic links it leaves the file.

    Raises:
        WeightsError: the cache may not be written.
    """
    try:
        file.resolve().unlink(missing_ok=True)
        file.unlink(missing_ok=True)
    except OSError as error:
        raise WeightsError(
            f"'{file}' is damaged and cannot be removed ({error.strerror}); remove it, or set HF_HOME to another folder"
        ) from error


def _draw(bar: tqdm, done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)


def _snapshot(name: str, revision: str | None, files: Sequence[str], progress: Progress) -> Path:
    # Imported when needed: the bundled weights do without.
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(name, revision=revision, allow_patterns=list(files), tqdm_class=_bar(progress))
    )


def _bar(progress: Progress) -> type[Any]:
    """A progress bar for the client that draws nothing and passes on the count of bytes.

    The client makes several: of files, of bytes from the network and, in newer versions, of bytes on the disk. Those of
    bytes count alike but for what the Hub's storage need not send twice; the larger count is reported.
    """
    from huggingface_hub.utils import tqdm as base

    furthest = 0

    class Bar(base):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._counts_bytes = options.get("unit") == "B"
            super().__init__(*arguments, **options | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            nonlocal furthest
            self.n += n or 0
            if self._counts_bytes and self.n > furthest:
                furthest = int(self.n)
                progress(furthest, max(furthest, int(self.total or 0)))

    return Bar


def _status(error: BaseException) -> int | None:
    """The HTTP status that lies behind an error, if one does."""
    for each in (error, error.__cause__):
        response = getattr(each, "response", None)
        if response is not None:
            return int(response.status_code)
    return None


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed in a moment: the Hub stumbled, or the connection broke off."""
    from huggingface_hub.errors import HTTPError

    status = _status(error)
    return isinstance(error, HTTPError) if status is None else status == 429 or status >= 500


def _sentence(name: str, revision: str | None, error: Exception) -> str:
    """What is wrong, and what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    status = _status(error)
    if isinstance(error, HFValidationError):
        return (
            f"'{name}' is neither a folder nor the name of a Hub repository; give a folder or Hub repository with a "
            "CILF checkpoint, or none for the bundled one"
        )
    if isinstance(error, GatedRepoError):
        return f"'{name}' asks for permission; request it on the Hub and {LOG_IN}"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"'{name}' is neither a folder nor a repository on the Hugging Face Hub; check the name, or {LOG_IN} "
            "when it is private"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"'{name}' has no revision '{revision}'; check the branch, tag or commit"
    if status == 401:
        return f"the Hugging Face Hub does not accept the access token for '{name}' (401); {LOG_IN}, or unset HF_TOKEN"
    if status == 403:
        return f"the Hugging Face Hub refuses '{name}' (403); {LOG_IN} as somebody who may read it"
    if status == 429:
        return (
            f"the Hugging Face Hub takes no more requests for now (429); try '{name}' again in a few minutes"
        )
    if status is not None and status >= 500:
        return f"the Hugging Face Hub has a failure of its own ({status}); try '{name}' again later"
    if status is not None:
        return f"the Hugging Face Hub does not give out '{name}' (it answers {status}); check the name"
    if isinstance(error.__cause__, OfflineModeIsEnabled):
        return f"'{name}' is no folder and not in the Hub's cache, and HF_HUB_OFFLINE is set; unset it to download"
    if isinstance(error, LocalEntryNotFoundError):
        return f"'{name}' is no folder, and the Hugging Face Hub cannot be reached; check the name and the network"
    first_line = str(error).strip().partition("\n")[0] or type(error).__name__
    if isinstance(error, HTTPError):
        return (
            f"the connection to the Hugging Face Hub broke off at '{name}' ({first_line}); check the network"
        )
    return f"'{name}' could not be fetched from the Hugging Face Hub ({first_line})"
