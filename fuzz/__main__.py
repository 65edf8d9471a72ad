"""`python -m fuzz --cases 100000`: says of each target how many cases it took, or the smallest that it did not."""

import argparse
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, example, given, seed, settings

SECONDS, BYTES = 2.0, 500 * 2**20


def within_bounds(survive: Callable[[Any], None]) -> Callable[[Any], None]:
    """`survive`, seen to take neither long nor much memory."""

    def test(content: Any) -> None:
        began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        survive(content)
        took = time.process_time() - began
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        assert took < SECONDS, f"it took {took:.1f} s"
        assert grown < BYTES, f"it took {grown >> 20} MiB"

    return test


def run(name: str, cases: int, start: int) -> int:
    """Feed a target so many cases; returns how many it took before one that was too much for it."""
    from fuzz.targets import TARGETS

    target, taken = TARGETS[name], 0

    def test(content: Any) -> None:
        nonlocal taken
        within_bounds(target.survive)(content)
        taken += 1

    for content in target.kept:
        test = example(content)(test)
    phases = (Phase.explicit, Phase.generate, Phase.shrink)
    bounds = settings(
        max_examples=cases, deadline=None, database=None, phases=phases, suppress_health_check=list(HealthCheck)
    )
    bounds(seed(start)(given(target.inputs)(test)))()
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="of all targets together (default: %(default)s)")
    parser.add_argument("--only", help="the name of a target")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="(default: the time)")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from fuzz.targets import TARGETS

    failed, total = [], 0
    for name, target in TARGETS.items():
        if options.only not in (None, name):
            continue
        began, cases = time.monotonic(), max(1, round(options.cases * (1 if options.only else target.share)))
        try:
            taken = run(name, cases, options.seed)
        except Exception:
            failed.append(name)
            print(
                f"{name}: FAILED (--only {name!r} --seed {options.seed})\n{traceback.format_exc()[-3000:]}", flush=True
            )
            continue
        total += taken
        print(f"{name}: {taken:,} cases, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{total:,} cases; seed {options.seed}; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
