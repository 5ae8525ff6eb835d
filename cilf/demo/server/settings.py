"""How the page is started: the command line, and the environment of a Hugging Face Space in its place."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cilf.demo import texts

LOOPBACK = ("127.0.0.1", "localhost", "::1")

# Visitors who wait for an answer; those who come later are asked to try again.
QUEUE = 200

# As a trusted host: any name.
ANY_HOST = "*"

# Jupyter's kernels, Colab and Kaggle set one of these, for the programs that they start too.
NOTEBOOK_VARIABLES = ("JPY_PARENT_PID", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE")


@dataclass(frozen=True)
class Settings:
    """What the owner of the page has chosen.

    Attributes:
        host: address to listen on.
        port: None takes the first free one from 7860.
        share: also give the page a public address through Gradio's tunnel.
        weights: folder, Hugging Face Hub id, the name of bundled ones, or `clip:` and a CLIP of open_clip's; None for
            those of CILF.
        device: where the model computes, as PyTorch names it.
        mcp: offer the endpoints to language models as tools.
        max_faces: of each photo keep only so many faces; None keeps all.
        queue_size: how many visitors may wait.
        space: name of the Hugging Face Space that the page runs on, or empty.
        notebook: whether it is started from a notebook, whose proxy may bring others to it.
        trusted_hosts: host names, in lower case, under which it may be asked besides its own, and whose pages may send
            to it; `*` for any.
    """

    host: str = "127.0.0.1"
    port: int | None = None
    share: bool = False
    weights: str | None = None
    device: str = "cpu"
    mcp: bool = False
    max_faces: int | None = None
    queue_size: int = QUEUE
    space: str = ""
    notebook: bool = False
    trusted_hosts: tuple[str, ...] = ()

    @property
    def behind_proxy(self) -> bool:
        """Whether the page is reached through somebody else's servers, under a name that they give."""
        return self.share or bool(self.space) or self.notebook

    @property
    def alone(self) -> bool:
        """Whether nobody but the user of this computer can open the page."""
        return (
            self.host in LOOPBACK
            and not self.behind_proxy
            and not set(self.trusted_hosts).difference(LOOPBACK)
        )

    @property
    def where(self) -> str:
        """Where a visitor's picture goes, in a sentence; empty where it stays on the visitor's own computer."""
        if self.space:
            return texts.ON_A_SPACE
        if self.share:
            return texts.SHARED
        return "" if self.alone else texts.ON_THE_NETWORK


def read(arguments: Sequence[str] | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings from the command line; where an option is missing, from the environment.

    Exits with a sentence when an option has a value that cannot be worked with.
    """
    space = environment.get("SPACE_ID", "")
    # A Space must be reachable from outside its container; most set Gradio's own variable for it.
    host = environment.get("GRADIO_SERVER_NAME") or ("0.0.0.0" if space else "127.0.0.1")
    parser = argparse.ArgumentParser(
        prog="app.py", description="Serve the page that estimates ages from faces.", allow_abbrev=False
    )
    parser.add_argument(
        "--host", default=host, help="address to listen on; default 127.0.0.1, this computer alone"
    )
    parser.add_argument("--port", type=int, help="port to listen on; default the first free one from 7860")
    parser.add_argument(
        "--share", action="store_true", help="also give the page a public address, through Gradio's servers"
    )
    parser.add_argument(
        "--weights",
        default=environment.get("CILF_WEIGHTS") or None,
        help="folder or Hugging Face Hub id of other weights, mtmsa, lra-gnn, mcgrl, or clip:MODEL/WEIGHTS for prompts "
        "compared by a published CLIP; default CILF_WEIGHTS, or the bundled CILF",
    )
    parser.add_argument(
        "--device",
        default=environment.get("CILF_DEVICE") or "cpu",
        help="where the model computes, as PyTorch names it; default CILF_DEVICE, or cpu",
    )
    parser.add_argument(
        "--mcp", action="store_true", help="offer the endpoints as MCP tools too; needs the extra 'mcp'"
    )
    parser.add_argument(
        "--max-faces",
        type=_count,
        default=environment.get("CILF_MAX_FACES") or None,
        help="keep at most this many faces of a photo, the largest ones; default CILF_MAX_FACES, or all",
    )
    parser.add_argument(
        "--queue-size",
        type=_count,
        default=environment.get("CILF_QUEUE_SIZE") or QUEUE,
        help=f"how many visitors may wait for an answer; default CILF_QUEUE_SIZE, or {QUEUE}",
    )
    parser.add_argument(
        "--trusted-hosts",
        type=_host_names,
        default=environment.get("CILF_TRUSTED_HOSTS") or "",
        metavar="NAMES",
        help="host names, between commas, under which a proxy serves the page, and whose pages may send to it; "
        "* for any; default CILF_TRUSTED_HOSTS, or its own names alone",
    )
    notebook = any(environment.get(name) for name in NOTEBOOK_VARIABLES)
    return Settings(**vars(parser.parse_args(arguments)), space=space, notebook=notebook)


def _host_names(text: str) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in text.split(",") if name.strip())


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number
