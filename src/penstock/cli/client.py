"""Talks to a running server, and says in a line what to do when it does not answer."""

from __future__ import annotations

from typing import Any

import httpx

from ..errors import InvalidRequest, Unavailable

_TIMEOUT_SECONDS = 60.0


class ServerAway(Unavailable):
    """No server answers at the address."""

    code = "server-away"


class Refused(InvalidRequest):
    """The server refused the request and said why."""

    code = "refused"


class Api:
    """The server's REST interface."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(base_url=f"{self.url}/api/v1", timeout=_TIMEOUT_SECONDS)

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """Return the JSON object at a path; parameters that are None are left out.

        Raises:
            ServerAway: no answer.
            Refused: an error, with the server's own words.
        """
        return self._ask("GET", path, params={name: value for name, value in parameters.items() if value is not None})

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Send a JSON object and return the one that comes back; errors as for `get`."""
        return self._ask("POST", path, json={name: value for name, value in body.items() if value is not None})

    def pages(self, path: str, key: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the items of all pages of a list."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self.get(path, cursor=cursor, limit=1000, **parameters)
            items += page[key]
            cursor = page.get("next")
            if cursor is None:
                return items

    def _ask(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        try:
            answer = self._client.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise away(self.url) from error
        if answer.is_error:
            raise Refused(explain(answer))
        found: dict[str, Any] = answer.json()
        return found


def away(url: str) -> ServerAway:
    """Return the error that says that no server answers."""
    return ServerAway(f"no server answers at {url}. Start it with `penstock serve`, or name another with --url.")


def explain(answer: httpx.Response) -> str:
    """Return what a problem document says, or the bare status."""
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {answer.status_code} {answer.reason_phrase}"
