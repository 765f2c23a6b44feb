"""How aiohttp is asked for things here: by addresses as they were given, and once."""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp
import yarl

from .addresses import path_and_query


def as_given(url: str) -> yarl.URL:
    """Return an address for aiohttp, path and query letter by letter: there may be a signature over them.

    Raises:
        ValueError: it cannot be asked.
    """
    path, query = path_and_query(url)
    parts = urlsplit(url)
    server = yarl.URL(f"{parts.scheme}://{parts.netloc}")
    return yarl.URL.build(
        scheme=parts.scheme, authority=server.raw_authority, path=path, query_string=query, encoded=True
    )


async def asked_once(request: aiohttp.ClientRequest, ask: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Ask, and leave it at that: where a connection ends without an answer, aiohttp would ask once more.

    An address may be good for one reading, and how often something is tried is told by the log.
    """
    try:
        return await ask(request)
    except aiohttp.ClientConnectorError:
        raise  # nothing was asked
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError("it has ended the connection without an answer") from error
