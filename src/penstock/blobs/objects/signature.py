"""Signs requests to S3 (AWS Signature Version 4): for the few that obstore cannot make."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_ALGORITHM = "AWS4-HMAC-SHA256"
_NO_BODY = hashlib.sha256(b"").hexdigest()


class Keys(NamedTuple):
    """Who signs."""

    access_key: str
    secret_key: str
    session_token: str = ""
    """Of keys that are lent for a while."""


def query_of(parameters: Mapping[str, str]) -> str:
    """Return a query as it is both sent and signed: in order, and encoded throughout."""
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in parameters.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


def path_of(path: str) -> str:
    """Return a path as it is both sent and signed."""
    return quote(path, safe="/-_.~")


def signed_headers(
    method: str, host: str, path: str, query: str, *, keys: Keys, region: str, at: datetime
) -> dict[str, str]:
    """Return the headers that a request without a body needs.

    Args:
        method: the method.
        host: name and, unless it is the scheme's own, port.
        path: as `path_of` returns it.
        query: as `query_of` returns it.
        keys: who signs.
        region: the bucket's.
        at: the time, in UTC; the service takes it if it is within minutes of its own.
    """
    moment, day = at.strftime("%Y%m%dT%H%M%SZ"), at.strftime("%Y%m%d")
    headers = {"host": host, "x-amz-content-sha256": _NO_BODY, "x-amz-date": moment}
    if keys.session_token:
        headers["x-amz-security-token"] = keys.session_token
    names = ";".join(sorted(headers))
    listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = f"{method}\n{path}\n{query}\n{listed}\n{names}\n{_NO_BODY}"
    scope = f"{day}/{region}/s3/aws4_request"
    text = "\n".join([_ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{keys.secret_key}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    credential = f"{keys.access_key}/{scope}"
    headers["authorization"] = f"{_ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return headers
