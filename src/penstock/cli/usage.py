"""`penstock uploads usage` and `penstock uploads unfinished`: who has how much, and what can be continued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from .options import AsJson, ConfigFile, ServerUrl, server_url
from .show import age, complain, moment, print_json, print_table, size

if TYPE_CHECKING:
    from collections.abc import Mapping

_USAGE: Final = ("whose", "name", "used", "reserved", "quota", "free", "unfinished", "allowed")
_UNFINISHED: Final = ("upload id", "name", "space", "owner", "offset", "size", "age", "expires")


def usage(url: ServerUrl = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show how much the server, each space and each user has, and may have.

    Used are files that have arrived; reserved is what unfinished uploads will need.
    """
    from .api import Api

    with Api(server_url(url, config)) as api:
        found: list[dict[str, Any]] = api.get("/usage")["usage"]
    if as_json:
        print_json(found)
    else:
        print_table(_USAGE, [_usage_row(one) for one in found])


def unfinished(
    *,
    space: Annotated[str | None, typer.Option(help="Only those to this space.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only those of this user.")] = None,
    url: ServerUrl = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List uploads whose bytes have not all arrived, and which can still be continued, from any machine.

    Go on with one of them by `penstock upload FILE --continue ID`.
    """
    from .api import Api

    with Api(server_url(url, config)) as api:
        found = api.pages("/uploads", "uploads", unfinished="true", space=space, owner=owner)
    if as_json:
        print_json([_document(upload) for upload in found])
    elif found:
        print_table(_UNFINISHED, [_row(upload) for upload in found])
    else:
        complain("no unfinished uploads.")


def _usage_row(one: Mapping[str, Any]) -> tuple[str, ...]:
    most = one["max_unfinished"]
    return (
        one["kind"],
        one["name"],
        size(one["used"]),
        size(one["reserved"]),
        size(one["limit"]),
        size(one["free"]),
        str(one["unfinished"]),
        "" if most is None else str(most),
    )


def _row(upload: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        upload["id"],
        upload["filename"],
        upload["space"],
        upload["owner"],
        size(upload["offset"]),
        size(upload["size"]),
        age(upload["age_seconds"]),
        moment(upload["expires_at"]),
    )


def _document(upload: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("id", "filename", "space", "owner", "offset", "size", "created_at", "part", "made_of")
    return {**{key: upload[key] for key in kept}, "expires": upload["expires_at"], "address": upload["links"]["tus"]}
