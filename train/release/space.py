"""The files of a Hugging Face Space that shows the page: `python -m train publish --folder FOLDER` writes them.

They are those of a checkout that the page needs, with the Space's settings on top of README.
"""

import re
import shutil
import subprocess
from pathlib import Path

from cilf.checkpoint import BUNDLED
from cilf.errors import CilfError

ROOT = Path(__file__).resolve().parents[2]
README, PINS = "README.md", "requirements.txt"

# Tests, training and their studies stay at home.
PARTS = (
    "LICENSE",
    README,
    "app.py",
    "assets",
    *(f"checkpoints/{name}" for name in BUNDLED),
    "cilf",
    "packages.txt",
    PINS,
)

# What the Hub reads of a Space: https://huggingface.co/docs/hub/spaces-config-reference
FRONT_MATTER = """\
---
title: CILF
emoji: 🧭
colorFrom: blue
colorTo: gray
sdk: gradio
sdk_version: {gradio}
python_version: "3.11"
app_file: app.py
license: other
license_name: code-apache-2.0-weights-non-commercial
license_link: LICENSE
short_description: Age from a face, and how the estimate was corrected
---

"""


class PublishError(CilfError):
    """Something cannot be uploaded."""


def stage(folder: Path, root: Path = ROOT) -> None:
    """Write the files of a Space into `folder`, which exists.

    Raises:
        PublishError: `root` is no git checkout.
    """
    for name in files(root):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, folder / name)
    (folder / README).write_text(readme(root), encoding="utf-8")


def readme(root: Path = ROOT) -> str:
    """README with the Space's settings on top, which take Gradio's version from `requirements.txt`.

    Raises:
        PublishError: `requirements.txt` does not pin Gradio.
    """
    pin = re.search(r"^gradio==(\S+)", (root / PINS).read_text(encoding="utf-8"), re.MULTILINE)
    if pin is None:
        raise PublishError(f"'{root / PINS}' does not pin gradio; a Space needs its exact version")
    text = (root / README).read_text(encoding="utf-8")
    return text if text.startswith("---\n") else FRONT_MATTER.format(gradio=pin[1]) + text


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
    names = [name for name in listed.stdout.decode().split("\0") if name]
    if not names:
        raise PublishError(
            f"'{root}' has no files of this project under git's control; publish from its checkout"
        )
    return names
