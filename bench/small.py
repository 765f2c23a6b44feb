"""Many small uploads: 10 KiB each, created and sent on a new connection, 4 at a time.

    make bench ARGS="small -- [COUNT]"          (default: 2000)

Penstock is measured with no steps: an upload is on disk, processed and released at the end, not only received.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from _load import Target, send_small
from _servers import SERVERS, cpu_seconds, running

AT_ONCE = 4
SIZE_BYTES = 10 * 1024


def main() -> None:
    """Measure each server."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"{'server':14} {'uploads/s':>10} {'CPU ms each':>12}")
    for name in SERVERS:
        with running(name) as target:
            _send(target, count // 10)
            before, begin = cpu_seconds(target.pid), time.perf_counter()
            _send(target, count)
            seconds, cpu = time.perf_counter() - begin, cpu_seconds(target.pid) - before
            print(f"{name:14} {count / seconds:10.0f} {cpu / count * 1000:12.2f}", flush=True)


def _send(target: Target, count: int) -> None:
    body = os.urandom(SIZE_BYTES)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(send_small, target, body) for _ in range(count)]:
            done.result()


if __name__ == "__main__":
    main()
