"""The fuzz run: damaged inputs in any number through everything that reads a stranger's input.

`python -m tests.hostile.fuzz --inputs 180000 --seed 1` goes through openers, parsers and API bodies, and with
`--predictions` through the network. `--start` goes on where an earlier run stopped: an input is made of its number.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial

from tests.hostile.cases import case
from tests.hostile.supervisor import MEGABYTES, SECONDS, Outcome, outcomes

EVERY_S = 60  # seconds from one line on progress to the next


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the inputs, print the figures, and give 1 where an input did what none may do."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, help="how many; default 180,000, or 20,000 with --predictions")
    parser.add_argument("--seed", type=int, default=1, help="of all inputs; default 1")
    parser.add_argument("--start", type=int, default=0, help="the first input's number; default 0")
    parser.add_argument("--predictions", action="store_true", help="go through the network")
    parser.add_argument("--processes", type=int, default=2, help="that work at once; default 2")
    options = parser.parse_args(arguments)
    make = partial(case, options.seed, predictions=options.predictions)
    count = options.inputs or (20_000 if options.predictions else 180_000)
    numbers = range(options.start, options.start + count)
    what = " --predictions" if options.predictions else ""
    print(f"seed {options.seed}{what}, inputs {numbers.start} to {numbers.stop - 1}", flush=True)
    results: list[Outcome] = []
    began = said = time.monotonic()
    try:
        for outcome in outcomes(numbers, make, options.processes):
            results.append(outcome)
            if outcome.bad:
                print(f"  BAD {_described(outcome)}", flush=True)
            if time.monotonic() - said > EVERY_S:
                said = time.monotonic()
                print(f"  {len(results):,} inputs in {said - began:.0f} s", flush=True)
    except KeyboardInterrupt:
        print(f"stopped; go on with --start {min(set(numbers) - {each.number for each in results})}")
    print(summary(results, time.monotonic() - began))
    return int(any(outcome.bad for outcome in results))


def summary(results: Sequence[Outcome], seconds: float) -> str:
    """The figures of a run as text."""
    bad = [outcome for outcome in results if outcome.bad]
    counts = Counter(outcome.result for outcome in results if not outcome.foreign)
    kinds = Counter(outcome.kind for outcome in results)
    lines = [f"{len(results):,} inputs in {seconds:.0f} s"]
    lines += [f"  through {kind}: {count:,}" for kind, count in kinds.most_common()]
    lines += [f"  {result}: {count:,}" for result, count in counts.most_common()]
    lines += [f"  foreign errors, crashes and hangs: {sum(outcome.foreign for outcome in results)}"]
    lines += [f"  over {SECONDS:.0f} s: {sum(outcome.seconds > SECONDS for outcome in results)}"]
    lines += [f"  over {MEGABYTES:.0f} MB: {sum(outcome.megabytes > MEGABYTES for outcome in results)}"]
    if results:
        lines.append(f"  slowest: {_described(max(results, key=lambda outcome: outcome.seconds))}")
        lines.append(f"  largest: {_described(max(results, key=lambda outcome: outcome.megabytes))}")
    lines += [f"  BAD {_described(outcome)}" for outcome in bad[:100]]
    return "\n".join(lines)


def _described(outcome: Outcome) -> str:
    cost = f"{outcome.seconds:.2f} s, {outcome.megabytes:.0f} MB"
    return f"input {outcome.number} ({outcome.kind}): {cost}, {outcome.result}"


if __name__ == "__main__":
    raise SystemExit(main())
