"""Many small uploads: 10 KiB each, created and sent on a new connection, 4 at a time.

    make bench ARGS="small -- [COUNT [ROUNDS [SERVER…]]]"          (default: 500 uploads, 5 rounds, all servers)

Penstock is measured with no steps: an upload is on disk, processed and released at the end, not only received. The
servers take turns; the best round says what a server can do, the median what it did beside whatever else ran here.
What the driver itself takes of the same cores is told as well: each connection has a process of its own, which sends
bytes that were put together before. Beside them runs an application under granian that does nothing but write the body
to a file: each rate is also told as a share of its rate in the same round, the median of the rounds, and so can be
compared with what was measured on another machine.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from _load import SmallUploads, Target
from _servers import BARE, SERVERS, cpu_seconds, running

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

AT_ONCE = 4
SIZE_BYTES = 10 * 1024


class Round(NamedTuple):
    """What one round of a server gave."""

    per_second: float
    cpu_ms_each: float
    driver_ms_each: float
    """CPU time of those who send, per upload."""


def main() -> None:
    """Measure all servers, in turns."""
    count, rounds = [*map(int, sys.argv[1:3]), *(500, 5)[len(sys.argv) - 1 :]]
    found: dict[str, list[Round]] = {name: [] for name in [*(sys.argv[3:] or SERVERS), BARE]}
    for _ in range(rounds):
        for name, measured in found.items():
            with running(name) as target:
                measured.append(_measure(target, count))
    heads = ("uploads/s", "CPU ms each", "driver's")
    print(f"{'':16}" + "".join(f" {head:>20}" for head in heads) + f" {'of bare':>9}")
    print(f"{'server':16}" + f" {'best':>10} {'median':>9}" * 3 + f" {'granian':>9}")
    for name, measured in found.items():
        rates, costs, drivers = zip(*measured, strict=True)
        print(
            f"{name:16} {max(rates):10.0f} {statistics.median(rates):9.0f} "
            f"{min(costs):10.2f} {statistics.median(costs):9.2f} "
            f"{min(drivers):10.2f} {statistics.median(drivers):9.2f} {_share(measured, found[BARE]):9.2f}",
            flush=True,
        )


def _share(measured: list[Round], bare: list[Round]) -> float:
    return statistics.median(one.per_second / other.per_second for one, other in zip(measured, bare, strict=True))


def _measure(target: Target, count: int) -> Round:
    _send(target, count // 2)
    before, begin = cpu_seconds(target.pid), time.perf_counter()
    driver = _send(target, count)
    seconds, cpu = time.perf_counter() - begin, cpu_seconds(target.pid) - before
    return Round(count / seconds, cpu / count * 1000, driver / count * 1000)


def _send(target: Target, count: int) -> float:
    """Send uploads; return the CPU seconds that it took to do so."""
    forked = multiprocessing.get_context("fork")
    body = os.urandom(SIZE_BYTES)
    senders, results = [], []
    for number in range(AT_ONCE):
        result, said = forked.Pipe(duplex=False)
        share = count // AT_ONCE + (number < count % AT_ONCE)
        senders.append(forked.Process(target=_send_share, args=(target, body, share, said)))
        results.append(result)
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
        if sender.exitcode:
            raise RuntimeError(f"{target.name}: a sender has failed")
    return sum(float(result.recv()) for result in results)


def _send_share(target: Target, body: bytes, count: int, said: Connection) -> None:
    begin = time.process_time()
    uploads = SmallUploads(target, body)
    for _ in range(count):
        uploads.send_one()
    said.send(time.process_time() - begin)


if __name__ == "__main__":
    main()
