"""Many small uploads: 10 KiB each, created and sent on a new connection, 4 at a time.

    make bench ARGS="small -- [COUNT [ROUNDS]]"          (default: 500 uploads, 5 rounds)

Penstock is measured with no steps: an upload is on disk, processed and released at the end, not only received. The
servers take turns; the best round says what a server can do, the median what it did beside whatever else ran here.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from _load import Target, send_small
from _servers import SERVERS, cpu_seconds, running

AT_ONCE = 4
SIZE_BYTES = 10 * 1024


class Round(NamedTuple):
    """What one round of a server gave."""

    per_second: float
    cpu_ms_each: float


def main() -> None:
    """Measure all servers, in turns."""
    count, rounds = [*map(int, sys.argv[1:]), *(500, 5)[len(sys.argv) - 1 :]]
    found: dict[str, list[Round]] = {name: [] for name in SERVERS}
    for _ in range(rounds):
        for name in SERVERS:
            with running(name) as target:
                found[name].append(_measure(target, count))
    print(f"{'':14} {'uploads/s':>20} {'CPU ms each':>20}\n{'server':14}" + f" {'best':>10} {'median':>9}" * 2)
    for name, measured in found.items():
        rates, costs = [one.per_second for one in measured], [one.cpu_ms_each for one in measured]
        print(
            f"{name:14} {max(rates):10.0f} {statistics.median(rates):9.0f} "
            f"{min(costs):10.2f} {statistics.median(costs):9.2f}",
            flush=True,
        )


def _measure(target: Target, count: int) -> Round:
    _send(target, count // 2)
    before, begin = cpu_seconds(target.pid), time.perf_counter()
    _send(target, count)
    seconds, cpu = time.perf_counter() - begin, cpu_seconds(target.pid) - before
    return Round(count / seconds, cpu / count * 1000)


def _send(target: Target, count: int) -> None:
    body = os.urandom(SIZE_BYTES)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(send_small, target, body) for _ in range(count)]:
            done.result()


if __name__ == "__main__":
    main()
