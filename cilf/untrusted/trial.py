"""Try a checkpoint that does not come with the package in a child process, before this one computes with it.

What hangs, crashes or takes too much memory there harms nobody. `cilf.untrusted.trial_child` is that child.
"""

import subprocess
from pathlib import Path

from cilf.child_process import environment, module_command
from cilf.errors import WeightsError

LIMIT = 300.0  # seconds; PyTorch's start took 60 of them on a busy machine
REFUSED = 3  # exit status of the child that has a sentence to say


def require_success(folder: Path) -> None:
    """Try the checkpoint in `folder`. Raises WeightsError where it fails, or takes longer than `LIMIT` seconds."""
    try:
        done = subprocess.run(
            module_command("cilf.untrusted.trial_child", str(folder.resolve())),
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WeightsError(
            f"the checkpoint in '{folder}' does not answer within {LIMIT:.0f} seconds; load another"
        ) from error
    if done.returncode == REFUSED:
        raise WeightsError(done.stderr.strip().rpartition("\n")[2])
    if done.returncode:
        raise WeightsError(
            f"the checkpoint in '{folder}' failed when it was tried (exit status {done.returncode}); load another"
        )
