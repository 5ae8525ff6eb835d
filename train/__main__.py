"""`python -m train COMMAND`: training, calibration, evaluation, studies and release of checkpoints."""

import argparse
import logging
import os
import sys

from cilf.errors import CilfError
from train.commands import calibrate, data, evaluate, fit, release, run, studies
from train.data.datasets import DatasetError

ROOMS = (run, data, fit, calibrate, evaluate, studies, release)


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; 0 on success, 2 on wrong input, 130 when stopped on request."""
    rank = os.environ.get(
        "RANK", "0"
    )  # number of this process among several that `accelerate launch` started
    logging.basicConfig(level=logging.INFO if rank == "0" else logging.WARNING, format="%(message)s")
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (CilfError, DatasetError, FileNotFoundError) as error:
        where = f"Process {rank}: " if "RANK" in os.environ else ""
        print(f"{where}{error}", file=sys.stderr)
        return 2
    except Exception as error:
        from train.fit.loop import Interrupted  # not before: PyTorch takes seconds

        if not isinstance(error, Interrupted):
            raise
        logging.info("%s", error)
        return 130


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    whole = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = whole.add_subparsers(required=True, metavar="command")
    for room in ROOMS:
        room.add(commands)
    return whole


if __name__ == "__main__":
    sys.exit(main())
