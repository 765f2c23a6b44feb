"""Several real `penstock serve` on one PostgreSQL and one nats-server, as behind a load balancer."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .nats import NatsServer, running_nats
from .penstock import PenstockServer
from .postgres import PostgresServer, running_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STEP = """
from pathlib import Path

from penstock import Outcome, StepUpload, step


@step("count")
def count(upload: StepUpload) -> Outcome:
    with Path(__file__).with_name("runs").open("a") as runs:
        runs.write(f"{upload.id}\\n")
    return Outcome.CONTINUE
"""


class Cluster:
    """Instances, and the turn of each."""

    def __init__(
        self, folder: Path, postgres: PostgresServer, nats: NatsServer, number: int, *, apart: bool, **environment: str
    ) -> None:
        self._apart = apart
        self.postgres = postgres
        self._runs = folder / "runs"
        (folder / "count.py").write_text(STEP)
        url = postgres.url(postgres.new_database()).render_as_string(hide_password=False)
        self.environment = {
            "PENSTOCK_DATABASE_URL": url,
            "PENSTOCK_BUS": "nats",
            "OCIS_EVENTS_ENDPOINT": nats.endpoint,
            "POSTPROCESSING_STEPS": "count",
            **environment,
        }
        self.servers = [self._server(folder / f"instance-{index}", folder) for index in range(number)]
        self._turns = itertools.cycle(self.servers)

    def _server(self, own: Path, folder: Path) -> PenstockServer:
        own.mkdir()
        server = PenstockServer(own, "--steps", str(folder / "count.py"), **self.environment)
        if not self._apart:
            server.data_dir = folder / "shared"
        return server

    @property
    def next(self) -> PenstockServer:
        """The one whose turn it is."""
        return next(self._turns)

    def runs(self, upload_id: str) -> int:
        """How often the step was run for an upload."""
        return self._runs.read_text().split().count(upload_id) if self._runs.exists() else 0


@contextmanager
def running_cluster(folder: Path, number: int = 3, *, apart: bool = False, **environment: str) -> Iterator[Cluster]:
    """Run instances; `apart`: each with a folder of its own, so that they share bytes by other means."""
    bus = folder / "nats"
    bus.mkdir()
    with running_postgres() as postgres, running_nats(bus) as nats:
        cluster = Cluster(folder, postgres, nats, number, apart=apart, **environment)
        try:
            for server in cluster.servers:
                server.launch()
            for server in cluster.servers:
                server.wait()
            yield cluster
        finally:
            for server in cluster.servers:
                if server.process is not None and server.process.poll() is None:
                    server.kill()
