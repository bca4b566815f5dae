"""`python -m tests.bench`: measure and print. On a busy machine look at the ratios, not at the figures."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from tests.bench import plans, ranks, safety, speed, sweeps
from tests.bench.tables import machine


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the steps, three repeats")
    parser.add_argument("--repeats", type=int, help="how often each is measured, in turns (7; quick: 3)")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="PART",
        help="some of: peers long ranks parts reports saves kills answers sweeps plan",
    )
    asked = parser.parse_args()
    repeats = asked.repeats or (3 if asked.quick else 7)
    batches = 200 if asked.quick else 1000
    sections: dict[str, Callable[[], str]] = {
        "peers": lambda: speed.peers(repeats, batches),
        "long": lambda: speed.long_steps(repeats, batches // 2),
        "ranks": lambda: ranks.two(repeats, batches // 20),
        "parts": lambda: speed.parts(repeats, batches),
        "reports": lambda: speed.reports(repeats, batches),
        "saves": lambda: safety.saves(4 * repeats, 100),
        "kills": lambda: safety.kills(repeats),
        "answers": lambda: safety.answers(repeats),
        "sweeps": lambda: sweeps.measure((repeats + 1) // 2, 6 if asked.quick else 20),
        "plan": plans.plan,
    }
    if unknown := set(asked.only or ()) - sections.keys():
        parser.error(f"there is no part {', '.join(sorted(unknown))}; choose from {' '.join(sections)}")
    for name, measure in sections.items():
        if not asked.only or name in asked.only:
            print(f"{measure()}\n", flush=True)
    print(machine(), flush=True)


if __name__ == "__main__":
    main()
