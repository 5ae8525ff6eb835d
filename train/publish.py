"""Upload the page to a Hugging Face Space.

Through the Hub's own client, which sends binaries to its storage for large files; a plain push with git is refused.
"""

import subprocess
from pathlib import Path

from cilf.errors import CilfError

ROOT = Path(__file__).resolve().parents[1]

# What a Space needs to show the page; tests, training and their studies stay at home.
PARTS = (
    "LICENSE",
    "README.md",
    "app.py",
    "assets",
    "checkpoints/compact",
    "checkpoints/mtmsa",
    "cilf",
    "packages.txt",
    "requirements.txt",
)


class PublishError(CilfError):
    """The page cannot be uploaded."""


def files(root: Path = ROOT) -> list[str]:
    """The files of a checkout that a Space needs, as paths relative to `root`: those under git's control alone.

    Raises:
        PublishError: `root` is no git checkout, or git is not installed.
    """
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--", *PARTS], cwd=root, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise PublishError(f"git cannot list the files of '{root}'; publish from a git checkout") from error
    found = [name for name in listed.stdout.decode().split("\0") if name]
    if not found:
        raise PublishError(
            f"'{root}' has no files of this project under git's control; publish from its checkout"
        )
    return found


def publish(space: str, root: Path = ROOT) -> str:
    """Make the Space `user/name` equal to the checkout: upload what it needs, remove what it no longer has.

    Returns:
        The address of the Space.

    Raises:
        PublishError: there is no checkout, nobody is logged in, or the Hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    names, hub = files(root), HfApi()
    try:
        made = hub.create_repo(space, repo_type="space", space_sdk="gradio", exist_ok=True, token=True)
        hub.upload_folder(
            repo_id=space,
            repo_type="space",
            folder_path=root,
            # Patterns, in which a bracket would stand for a choice of letters.
            allow_patterns=[name.replace("[", "[[]") for name in names],
            delete_patterns="*",
            commit_message="Publish the page",
            token=True,
        )
    except LocalTokenNotFoundError:
        raise PublishError("nobody is logged in to the Hugging Face Hub; run `hf auth login` first") from None
    except HFValidationError:
        raise PublishError(f"'{space}' is no name of a Space; give user/name") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no answer"
        raise PublishError(
            f"the Hugging Face Hub refuses to take '{space}' ({status}); check the name, and log in with "
            "`hf auth login` as somebody who may write there"
        ) from error
    except (
        Exception
    ) as error:  # the client lets through whatever its transport raises, which differs by version
        raise PublishError(
            f"'{space}' could not be uploaded ({type(error).__name__}: {error}); check the network and try again"
        ) from error
    return str(made)
