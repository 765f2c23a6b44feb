"""Who may have what, as the settings say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from ..settings.allowances import NAMES, SIZES, read_limit
from ..uploads.allowances import Allowance, Allowances

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..settings import Settings
    from ..telemetry import Metrics
    from ..uploads.quotas.accounts import Usage


def allowances_of(settings: Settings) -> Allowances:
    """Return the limits that the settings describe.

    Raises:
        ConfigurationError: a rule is wrong, or users are limited who have no names.
    """
    rules = _Rules(settings)
    for number, table in enumerate(settings.limit_rules.tables, start=1):
        rules.read(number, table)
    if rules.problems:
        raise ConfigurationError("\n".join(rules.problems))
    limited = "user_limits" if settings.user_limits else "limit_rules"
    if (settings.user_limits or rules.users) and not settings.user_header:
        raise ConfigurationError(
            f"{limited} ({settings.origins.get(limited)}) limits users, but nobody says who they are. Set user_header "
            "to the header in which your proxy names them, and trusted_proxies to its address."
        )
    if settings.user_header and not settings.trusted_proxies:
        raise ConfigurationError(
            f"user_header={settings.user_header} ({settings.origins.get('user_header')}) counts only from "
            "trusted_proxies, and there are none. Set it to the address of your proxy."
        )
    instance = {**settings.limits, "max_size": settings.max_size_bytes or 0}
    return Allowances(
        instance=_allowance(instance),
        each_space=_allowance(settings.space_limits),
        each_user=_allowance(settings.user_limits),
        spaces={name: _allowance({**settings.space_limits, **limits}) for name, limits in rules.spaces.items()},
        users={name: _allowance({**settings.user_limits, **limits}) for name, limits in rules.users.items()},
    )


def show_usage(usage: Usage, metrics: Metrics) -> None:
    """Set the metrics of somebody who has limits of their own."""
    subject, account, quota = usage.subject, usage.account, usage.allowance.quota_bytes
    sizes = {"used": account.used_bytes, "reserved": account.reserved_bytes}
    if quota is not None:
        sizes["limit"] = quota
    for what, size_bytes in sizes.items():
        metrics.quota_bytes.labels(subject.kind.value, subject.name, what).set(size_bytes)
    metrics.unfinished.labels(subject.kind.value, subject.name).set(account.unfinished)


def _allowance(limits: Mapping[str, int]) -> Allowance:
    """Return what somebody may have; a limit of 0 is none."""
    fields: dict[str, Any] = {
        f"{name}_bytes" if name in SIZES else name: limit for name, limit in limits.items() if limit
    }
    return Allowance(**fields)


class _Rules:
    """Reads rules, and collects what is wrong with them."""

    def __init__(self, settings: Settings) -> None:
        self._origin = settings.origins.get("limit_rules", "default")
        self.spaces: dict[str, dict[str, int]] = {}
        self.users: dict[str, dict[str, int]] = {}
        self.problems: list[str] = []

    def read(self, number: int, table: Mapping[str, object]) -> None:
        where = f"limit_rules ({self._origin}): rule {number}"
        named = [kind for kind in ("space", "user") if kind in table]
        if len(named) != 1:
            self.problems.append(f"{where}: names {'both' if named else 'nobody'}. Give it a `space` or a `user`.")
            return
        limits: dict[str, int] = {}
        for name, value in table.items():
            if name not in named:
                try:
                    limits[name] = read_limit(name, value)
                except ValueError as error:
                    self.problems.append(f"{where}: {error}")
        if len(table) == 1:
            self.problems.append(f"{where}: sets no limit. Write some of {', '.join(NAMES)}.")
        known = self.spaces if named == ["space"] else self.users
        for name in self._names(where, named[0], table[named[0]]):
            if name in known:
                self.problems.append(f"{where}: {named[0]} {name!r} has a rule already. Write all of its limits there.")
            known[name] = limits

    def _names(self, where: str, kind: str, value: object) -> list[str]:
        names = value if isinstance(value, list) else [value]
        if not names or not all(isinstance(name, str) and name for name in names):
            self.problems.append(f"{where}: {kind} must be a name in quotes, or an array of such.")
            return []
        return [str(name) for name in names]
