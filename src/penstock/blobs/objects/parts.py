"""Objects of S3 that were begun in parts and never ended: a process was killed while it sent them.

obstore neither lists nor aborts them, so these few requests are made here. Azure and Google remove such parts by
themselves.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import httpx
import structlog

from ...ids import is_upload_id
from ..base import BlobUnavailable
from ..inventory import Found, Stage
from .signature import Keys, path_of, query_of, signed_headers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = structlog.get_logger(__name__)

_SECONDS: Final = 30.0
_PAGES: Final = 100
"""Of a thousand each. What is beyond that is found the next time."""
_SEPARATOR: Final = "\n"
"""Between an object's key and the number of the upload in parts; neither may have it."""


class UnfinishedParts:
    """Those of one bucket."""

    def __init__(
        self, bucket: str, *, name: str, endpoint: str, region: str, keys: Keys | None, path_style: bool
    ) -> None:
        """Without an endpoint AWS is meant; without keys nothing is ever found, and the log says so."""
        base = urlsplit(endpoint or f"https://s3.{region}.amazonaws.com")
        self._name = name
        self._origin = f"{base.scheme}://{base.netloc}" if path_style else f"{base.scheme}://{bucket}.{base.netloc}"
        self._root = f"{base.path.rstrip('/')}/{bucket}" if path_style else base.path.rstrip("/")
        self._region = region
        self._keys = keys

    async def found(self, prefix: str, place: str) -> Sequence[Found]:
        """Return those whose objects would lie right below `prefix`.

        Raises:
            BlobUnavailable: they cannot be listed.
        """
        if self._keys is None:
            log.info("unfinished_parts_not_looked_for", place=place, hint="set storage_access_key, or a lifecycle rule")
            return []
        found: list[Found] = []
        begin = {"uploads": "", "prefix": prefix}
        after: dict[str, str] = {}
        for _ in range(_PAGES):
            page = await self._ask("GET", "/", begin | after)
            found += [one for upload in _all(page, "Upload") if (one := _found(upload, prefix, place)) is not None]
            if _text(page, "IsTruncated") != "true":
                break
            after = {"key-marker": _text(page, "NextKeyMarker"), "upload-id-marker": _text(page, "NextUploadIdMarker")}
        return [one._replace(size_bytes=await self._size(one)) for one in found]

    async def abort(self, found: Found) -> bool:
        """Remove the parts; return False if they were ended or removed meanwhile.

        Raises:
            BlobUnavailable: they may still be there.
        """
        key, _, number = found.key.partition(_SEPARATOR)
        return await self._ask("DELETE", f"/{key}", {"uploadId": number}) is not None

    async def _size(self, found: Found) -> int:
        key, _, number = found.key.partition(_SEPARATOR)
        page = await self._ask("GET", f"/{key}", {"uploadId": number})
        return sum(int(_text(part, "Size") or 0) for part in _all(page, "Part"))

    async def _ask(self, method: str, path: str, parameters: Mapping[str, str]) -> ET.Element | None:
        """Return the answer's document; None: there is no such thing (any more)."""
        if self._keys is None:
            return None
        path, query = path_of(self._root + (path if path != "/" else "" if self._root else "/")), query_of(parameters)
        host, at = urlsplit(self._origin).netloc, datetime.now(UTC)
        headers = signed_headers(method, host, path, query, keys=self._keys, region=self._region, at=at)
        try:
            async with httpx.AsyncClient(timeout=_SECONDS) as client:
                answer = await client.request(method, f"{self._origin}{path}?{query}", headers=headers)
        except httpx.TransportError as error:
            raise BlobUnavailable(f"{self._name} does not answer: {type(error).__name__}.") from None
        if answer.status_code == 404:
            return None
        if answer.is_error:
            raise BlobUnavailable(f"{self._name} does not say which parts lie in it: status {answer.status_code}.")
        try:
            return ET.fromstring(answer.content) if answer.content.strip() else ET.Element("nothing")  # noqa: S314  its own storage
        except ET.ParseError:
            raise BlobUnavailable(f"{self._name} answers with something that is no XML.") from None


def _found(upload: ET.Element, prefix: str, place: str) -> Found | None:
    key, number = _text(upload, "Key"), _text(upload, "UploadId")
    upload_id = key.removeprefix(prefix)
    if not key.startswith(prefix) or not is_upload_id(upload_id) or not number:
        return None
    try:
        begun_at = datetime.fromisoformat(_text(upload, "Initiated"))
    except ValueError:
        return None
    return Found(Stage.PARTS, upload_id, 0, begun_at, place, f"{key}{_SEPARATOR}{number}")


def _all(element: ET.Element | None, name: str) -> Sequence[ET.Element]:
    return [] if element is None else [one for one in element if one.tag.rpartition("}")[2] == name]


def _text(element: ET.Element | None, name: str) -> str:
    found = _all(element, name)
    return (found[0].text or "") if found else ""
