"""Many small uploads through the virus scanner: rate, and memory before and after.

    make bench ARGS="soak -- [IN A ROW] [AT ONCE]"      (default: 10000 16000)

Ends with status 1 when an upload does not end.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx
from _servers import resident_mib, running

CLIENT = Path(__file__).resolve().parent.parent / "tests" / "e2e" / "load_client.py"
CONNECTIONS = 16
_PATIENCE_SECONDS = 600


def main() -> int:
    """Send both loads; return the exit status."""
    in_a_row, at_once = ([int(one) for one in sys.argv[1:]] or [10_000, 16_000])[:2]
    print(f"{'load':>24} {'accepted/s':>11} {'ended/s':>8} {'RSS MiB before':>15} {'after':>6}")
    with running("penstock", steps="virusscan") as target:
        for count, connections in ((960, CONNECTIONS), (in_a_row, 1), (at_once, CONNECTIONS)):
            before, begin = resident_mib(target.pid), time.monotonic()
            command = [sys.executable, str(CLIENT), str(target.port), str(count), str(connections)]
            subprocess.run(command, check=True)
            accepted = time.monotonic() - begin
            if not _all_ended(target.port):
                print("some uploads do not end", file=sys.stderr)
                return 1
            ended = time.monotonic() - begin
            load = f"{count} from {connections}"
            after = resident_mib(target.pid)
            print(f"{load:>24} {count / accepted:11.0f} {count / ended:8.0f} {before:15.0f} {after:6.0f}", flush=True)
    return 0


def _all_ended(port: int) -> bool:
    end = time.monotonic() + _PATIENCE_SECONDS
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=60, trust_env=False) as client:
        while time.monotonic() < end:
            uploads = client.get("/uploads", params={"sessions": True, "limit": 1}).json()["uploads"]
            if not uploads and not client.get("/postprocessing").json()["records"]:
                return True
            time.sleep(0.25)
    return False


if __name__ == "__main__":
    sys.exit(main())
