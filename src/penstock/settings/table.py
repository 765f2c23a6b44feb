"""The one table of settings: name, kind, default, meaning, and the names that the Go services have for the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .entries import Entry, entries
from .groups.delivery import DeliverySettings
from .groups.events import EventsSettings
from .groups.instances import InstancesSettings
from .groups.limits import LimitSettings
from .groups.scanner import ScannerSettings
from .groups.server import ServerSettings
from .groups.steps import StepSettings
from .groups.storage import StorageSettings
from .groups.store import StoreSettings
from .groups.uploads import UploadSettings
from .groups.watching import WatchingSettings
from .origins import Origin, Source
from .services import Service


@dataclass(frozen=True, kw_only=True)
class Settings(
    # Fields come in the order of the bases from the last to the first.
    ScannerSettings,
    DeliverySettings,
    StoreSettings,
    StepSettings,
    StorageSettings,
    LimitSettings,
    UploadSettings,
    EventsSettings,
    WatchingSettings,
    ServerSettings,
    InstancesSettings,
):
    """Every choice of the operator, checked. `load_settings` makes it; the fields' defaults are those of `serve`."""

    service: Service = Service.SERVE
    """What they were read for."""
    origins: Mapping[str, Origin] = field(default_factory=dict, compare=False)
    """Where each value came from, by the setting's name."""
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What the operator should know although it works: old names, names that are probably misspelt."""


def table(service: Service | None = None) -> Mapping[str, Entry]:
    """Return the settings by their name, in order; with a service, only those that it reads."""
    every = entries(Settings)
    return every if service is None else {name: entry for name, entry in every.items() if service in entry.services}


def default_settings(service: Service) -> Settings:
    """Return what holds for a service when nobody says anything; relative paths stay relative."""
    values = {entry.attribute: entry.kind.from_text(entry.default_for(service), Path()) for entry in table().values()}
    return Settings(**values, service=service, origins={name: Origin(Source.DEFAULT) for name in table()})
