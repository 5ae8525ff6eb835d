"""Starting a module of this package in a process of its own, and how many processors there are for it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# Ctrl-C in a terminal reaches every process of its group; this one ends its children itself.
OUT_OF_REACH_OF_CTRL_C: dict[str, Any] = (
    {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined, unused-ignore]
    if sys.platform == "win32"
    else {"process_group": 0}
)

# One of several processes that compute computes on one thread.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this Python."""
    return [sys.executable, "-m", module, *arguments]


def environment() -> dict[str, str]:
    """This process's environment, in which a child finds the same package, and nothing of the folder it starts in."""
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONSAFEPATH": "1"}


def available_processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_resources(memory: int, cpu: int) -> None:
    """Bound this process's memory in bytes and its computing in seconds, where the system counts them: it ends by
    itself, even where its parent was killed."""
    if sys.platform == "win32":
        return
    import resource

    for kind, limit in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CPU, cpu)):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
