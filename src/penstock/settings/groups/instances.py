"""Settings of several instances that share one installation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ..entries import setting
from ..kinds import Text
from ..measures import Duration
from ..services import Service

_GROUP = "Several instances"


@dataclass(frozen=True, kw_only=True)
class InstancesSettings:
    """Where what all instances know is kept, and how soon one of them is taken for dead."""

    database_url: str = setting(
        Text(),
        "",
        "The database of the catalogue, and of the store `sqlite`, such as"
        " `postgresql://user:password@host:5432/penstock`. Empty: a file in the data folder, for one instance. With"
        " PostgreSQL any number of instances share it, the bus `nats`, and the data folder or (`staging`) a bucket.",
        group=_GROUP,
        secret=True,
        services=(Service.SERVE,),
    )
    instance_lease: timedelta = setting(
        Duration(least=timedelta(milliseconds=500)),
        "1.5s",
        "For how long nobody takes over what an instance is working on after its last sign of life. It gives one four"
        " times as often. Counts only with PostgreSQL in `database_url`.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
