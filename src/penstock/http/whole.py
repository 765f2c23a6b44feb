"""What the endpoints have in common that take whole files in one request: all of a file, or nothing of it.

There is no way to continue such a file, so one that was cut off is given up, and its bytes are freed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from ..errors import PenstockError
from .asgi import Scope
from .cors import SENDING
from .endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping

    from ..uploads.protocols.expected import Expected
    from ..uploads.protocols.proviso import Proviso
    from ..uploads.standing import Standing

log = structlog.get_logger(__name__)


class WholeFiles(Endpoint):
    """An endpoint for whole files: a subclass says what is in a request."""

    def _always(self, method: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        return self._cors.headers(method, headers, methods=SENDING)

    async def _whole(
        self,
        scope: Scope,
        headers: Mapping[str, str],
        pieces: AsyncIterable[bytes],
        *,
        name: str | None = None,
        path: str | None = None,
        length: int | None,
        space: str,
        media_type: str,
        metadata: str,
        expected: Expected | None = None,
        proviso: Proviso | None = None,
    ) -> Standing:
        """Take one file in; return how it stands.

        Args:
            scope: the request.
            headers: its headers.
            pieces: the file's bytes.
            name: what it is called; None: its path says that.
            path: where it is to be; None: by its name.
            length: how many bytes it has; None: as many as come.
            space: the space that it is for.
            media_type: what it is said to be.
            metadata: what is kept with it, as tus writes it.
            expected: digests that its bytes are to have.
            proviso: what must be at its path when it comes there.
        """
        standing = await self._receiver.create(
            name,
            path=path,
            size_bytes=length,
            space=space,
            media_type=media_type,
            owner=self._callers.owner(scope, headers),
            metadata=metadata,
            trace_parent=headers.get("traceparent", ""),
            proviso=proviso,
        )
        if length == 0:
            return standing
        upload_id = standing.upload.id
        try:
            return await self._receiver.receive(
                upload_id, 0, pieces, length=length, ends_upload=True, expected=expected
            )
        except BaseException:
            try:
                await self._receiver.terminate(upload_id)
            except PenstockError as error:  # its bytes go when it expires; the first error is what the client needs
                log.warning("upload_left_to_expire", upload=upload_id, error=str(error))
            raise
