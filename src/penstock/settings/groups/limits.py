"""Settings of what the whole server, each space and each user may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..allowances import NAMES, LimitWords
from ..entries import setting
from ..kinds import HeaderName
from ..services import Service
from ..tables import Tables, Written

_GROUP = "Limits"
_OF_ALL = tuple(name for name in NAMES if name != "max_size")


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """Who may have what."""

    limits: Mapping[str, int] = setting(
        LimitWords(names=_OF_ALL),
        "",
        "What all uploads together may have: `quota` (bytes, kept and on their way in), `max_unfinished` uploads, "
        "`max_receiving` of them at the same moment, `max_per_minute` begun. The largest file is `max_size`.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
    space_limits: Mapping[str, int] = setting(
        LimitWords(),
        "",
        "What each space may have, and `max_size`, the largest file in it; 0: no limit.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
    user_limits: Mapping[str, int] = setting(
        LimitWords(),
        "",
        "What each user may have, in all spaces together. Those without a name count as one. Needs `user_header`.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
    limit_rules: Written = setting(
        Tables("limit_rules"),
        "",
        "Other limits for some: each table names a `space` or a `user` (or several, as an array), and the limits that "
        "are others than those for all.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
    user_header: str = setting(
        HeaderName(),
        "",
        "The header in which a proxy says who the user is, such as `X-Forwarded-User`. It counts only if it comes from "
        "`trusted_proxies`, which must write it themselves, whatever their clients send. Empty: users have no names.",
        group=_GROUP,
        services=(Service.SERVE,),
    )
