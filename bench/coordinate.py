"""The coordinator: uploads with one step, over NATS, state in nats-js-kv and in memory.

    make bench ARGS="coordinate -- [COUNT [WINDOW]]"          (default: 10000 256)

The peer is OpenCloud's Go service, which cannot be installed from a registry: its figures were measured elsewhere, on
two cores, with driver and server on the same machine. Read them as ratios to the same machine's nats-server.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

from _platform import Load
from _servers import cpu_seconds, resident_mib, running_coordinator, running_nats

PEER = {"nats-js-kv": ("813-953", "0.73-0.86"), "memory": ("1576-1898", "0.38-0.45")}
LONE = 200
_LIMIT_SECONDS = 300.0


def main() -> None:
    """Measure each store."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    window = int(sys.argv[2]) if len(sys.argv) > 2 else 256
    head = f"{'store':12} {'uploads/s':>10} {'CPU ms each':>12} {'NATS ms each':>13} {'alone, ms':>10} {'RSS MiB':>8}"
    print(f"{head} {'peer uploads/s':>15} {'peer CPU ms':>12}")
    for store, (peer_rate, peer_cpu) in PEER.items():
        with running_nats() as nats, running_coordinator(nats.port, store) as service:
            asyncio.run(_run(nats.port, min(2000, count), window))
            before, nats_before, begin = cpu_seconds(service.pid), cpu_seconds(nats.pid), time.perf_counter()
            asyncio.run(_run(nats.port, count, window))
            seconds = time.perf_counter() - begin
            cpu = (cpu_seconds(service.pid) - before) / count * 1000
            nats_cpu = (cpu_seconds(nats.pid) - nats_before) / count * 1000
            alone = asyncio.run(_run(nats.port, LONE, 1))
            print(
                f"{store:12} {count / seconds:10.0f} {cpu:12.2f} {nats_cpu:13.2f} {alone:10.2f} "
                f"{resident_mib(service.pid):8.0f} {peer_rate:>15} {peer_cpu:>12}",
                flush=True,
            )


async def _run(port: int, count: int, window: int) -> float:
    """Put uploads through; return the median time that one took, in milliseconds."""
    load = await Load.connect(port, count=count, window=window)
    load.begin()
    try:
        await asyncio.wait_for(load.ended, _LIMIT_SECONDS)
    finally:
        load.close()
    return statistics.median(timing.finished - timing.put for timing in load.uploads.values()) * 1000


if __name__ == "__main__":
    main()
