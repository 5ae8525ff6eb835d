"""Upload to the Hugging Face Hub: a checkpoint to a model repository, the page to a Space.

Through the Hub's own client, which sends binaries to its storage for large files; a plain push with git is refused.
"""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cilf.checkpoint import CARD, FILES
from train.release.check import release_check
from train.release.space import ROOT, PublishError, stage


@dataclass(frozen=True)
class Published:
    """Where an uploaded checkpoint is: its repository's address, and the commit that holds it."""

    address: str
    commit: str


def publish_checkpoint(
    repository: str, folder: Path, *, tag: str | None = None, private: bool = False
) -> Published:
    """Upload weights, configuration, model card and report to `user/name` as one commit.

    Args:
        repository: `user/name`; made where it does not exist.
        folder: the checkpoint. It is checked first: see `train.release.check`.
        tag: name for this version, which `from_pretrained` takes as `revision`.
        private: make a new repository that others do not see; one that exists stays what it is.

    Raises:
        WeightsError, ReleaseError: the checkpoint is not fit to be published; nothing was uploaded.
        PublishError: nobody is logged in, or the Hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    release_check(folder)
    with _told(repository, "a repository"):
        hub = HfApi(token=True)
        made = hub.create_repo(repository, private=private or None, exist_ok=True)
        if tag and tag in {each.name for each in hub.list_repo_refs(repository).tags}:
            raise PublishError(f"'{repository}' has a tag '{tag}' already; choose another")
        content = {name: folder / name for name in FILES if name != CARD and (folder / name).is_file()}
        operations = [CommitOperationAdd(name, path) for name, path in content.items()]
        operations.append(CommitOperationAdd(CARD, _addressed(folder / CARD, repository)))
        # One commit, so that nobody ever downloads the weights of one version with the configuration of another.
        commit = hub.create_commit(repository, operations, commit_message="Publish the checkpoint")
        if tag:
            hub.create_tag(repository, tag=tag, revision=commit.oid)
    return Published(str(made), str(commit.oid))


def publish_page(space: str, root: Path = ROOT) -> str:
    """Make the Space `user/name` equal to the checkout: upload what it needs, remove what it no longer has.

    Returns:
        The address of the Space.

    Raises:
        PublishError: there is no checkout, nobody is logged in, or the Hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder), root)
        with _told(space, "a Space"):
            hub = HfApi(token=True)
            made = hub.create_repo(space, repo_type="space", space_sdk="gradio", exist_ok=True)
            hub.upload_folder(
                repo_id=space,
                repo_type="space",
                folder_path=folder,
                delete_patterns="*",
                commit_message="Publish the page",
            )
    return str(made)


def _addressed(card: Path, repository: str) -> bytes:
    """The card, whose example loads the bundled weights, with an example that loads these."""
    text = card.read_text(encoding="utf-8")
    return re.sub(r"from_pretrained\([^)]*\)", f'from_pretrained("{repository}")', text).encode()


@contextmanager
def _told(name: str, kind: str) -> Iterator[None]:
    """Whatever the Hub or the way to it objects to, as a `PublishError` of one sentence."""
    from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError

    if name.count("/") != 1:  # without the user's name the client would take that of whoever is logged in
        raise PublishError(f"'{name}' is no name of {kind}; give user/name")
    try:
        yield
    except PublishError:
        raise
    except LocalTokenNotFoundError:
        raise PublishError("nobody is logged in to the Hugging Face Hub; run `hf auth login` first") from None
    except HFValidationError:
        raise PublishError(f"'{name}' is no name of {kind}; give user/name") from None
    except (
        Exception
    ) as error:  # the client lets through whatever its transport raises, which differs by version
        raise PublishError(_sentence(name, error)) from error


def _sentence(name: str, error: Exception) -> str:
    root: BaseException = error
    while root.__cause__ is not None and getattr(root, "response", None) is None:
        root = root.__cause__
    response = getattr(root, "response", None)
    first_line = str(root).strip().partition("\n")[0]
    if response is None:
        return f"'{name}' could not be uploaded ({type(root).__name__}: {first_line}); check the network and try again"
    status = response.status_code
    if status == 401:
        return (
            "the Hugging Face Hub does not accept the access token (401); log in again with `hf auth login`, or give a "
            "valid HF_TOKEN"
        )
    if status in (402, 403):
        return (
            f"the Hugging Face Hub does not let this access token write to '{name}' ({status}); check the name, and "
            "log in with `hf auth login` and a token that may write there"
        )
    if status == 429 or status >= 500:
        return f"the Hugging Face Hub takes nothing for now ({status}); publish '{name}' again later"
    reason = getattr(root, "server_message", None) or first_line
    return (
        f"the Hugging Face Hub refuses '{name}' ({status}: {' '.join(str(reason).split())}); check the name"
    )
