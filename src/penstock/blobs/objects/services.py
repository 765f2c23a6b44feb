"""The three services, from plain arguments.

Credentials that are not given are looked for where the service's own tools look: in the environment, and from the
machine or pod that we run on.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from ...errors import ConfigurationError
from .parts import UnfinishedParts
from .place import ObjectPlace
from .signature import Keys
from .trouble import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from obstore.store import ObjectStore

_RETRIES: Final[Any] = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
}
"""For a short trouble within one request. What lasts longer, the event that asks for the release outlives."""
_PATIENCE: Final[Any] = {
    "max_retries": 100,
    "retry_timeout": timedelta(minutes=4),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=10), "base": 2},
}
"""For a part of a large file: if it does not arrive, all of the file is sent anew. A request is signed once for all of
its tries, and services take a signature for 5 minutes at least."""
_CONNECT: Final = timedelta(seconds=5)
_WRITE: Final = timedelta(seconds=120)
"""How long a request may take that sends one part."""
_READ: Final = timedelta(days=30)
"""The same for one that reads: as long as somebody downloads. Who reads has a limit for each piece (`place`)."""


class S3Place(ObjectPlace):
    """A place in a bucket of S3, or of what speaks like it."""

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        endpoint: str | None = None,
        region: str = "",
        access_key: str = "",
        secret_key: str = "",
        path_style: bool = True,
    ) -> None:
        """What is empty is as the environment says.

        Raises:
            ConfigurationError: an argument, or a variable of the environment, is wrong.
        """
        config = _said(
            endpoint=endpoint or "",
            region=region,
            access_key_id=access_key,
            secret_access_key=secret_key,
            virtual_hosted_style_request=not path_style,
        )
        name = _name("S3 bucket", bucket, endpoint)
        clients = _clients(name, endpoint, lambda **options: S3Store(bucket, **config, **options))
        parts = UnfinishedParts(
            bucket,
            name=name,
            endpoint=endpoint or os.environ.get("AWS_ENDPOINT_URL", ""),
            region=region or os.environ.get("AWS_REGION", "") or os.environ.get("AWS_DEFAULT_REGION", "us-east-1"),
            keys=_keys(access_key, secret_key),
            path_style=path_style,
        )
        super().__init__(
            clients.writing, clients.reading, patient=clients.patient, name=name, prefix=prefix, parts=parts
        )


class AzurePlace(ObjectPlace):
    """A place in a container of Azure Blob Storage."""

    def __init__(
        self, container: str, *, prefix: str = "", endpoint: str | None = None, account: str = "", account_key: str = ""
    ) -> None:
        """What is empty is as the environment says.

        Raises:
            ConfigurationError: an argument, or a variable of the environment, is wrong.
        """
        config = _said(endpoint=endpoint or "", account_name=account, account_key=account_key)
        name = _name("Azure container", container, endpoint)
        clients = _clients(name, endpoint, lambda **options: AzureStore(container, **config, **options))
        super().__init__(clients.writing, clients.reading, patient=clients.patient, name=name, prefix=prefix)


class GcsPlace(ObjectPlace):
    """A place in a bucket of Google Cloud Storage."""

    def __init__(
        self, bucket: str, *, prefix: str = "", endpoint: str | None = None, credentials_file: Path | None = None
    ) -> None:
        """What is empty is as the environment says.

        Raises:
            ConfigurationError: an argument, or a variable of the environment, is wrong.
        """
        config: dict[str, Any] = {}
        if credentials_file is not None:
            config["service_account_key"] = _service_account(credentials_file, endpoint)
        elif endpoint:
            raise ConfigurationError("storage_endpoint with storage=gcs needs storage_credentials_file as well.")
        name = _name("GCS bucket", bucket, endpoint)
        clients = _clients(name, endpoint, lambda **options: GCSStore(bucket, **config, **options))
        super().__init__(clients.writing, clients.reading, patient=clients.patient, name=name, prefix=prefix)


def _keys(access_key: str, secret_key: str) -> Keys | None:
    """Return the keys to sign with that are given, or in the environment; None: a role's, which only obstore knows."""
    if access_key:
        return Keys(access_key, secret_key)
    environment = os.environ
    if "AWS_ACCESS_KEY_ID" not in environment:
        return None
    secret = environment.get("AWS_SECRET_ACCESS_KEY", "")
    return Keys(environment["AWS_ACCESS_KEY_ID"], secret, environment.get("AWS_SESSION_TOKEN", ""))


def _name(kind: str, bucket: str, endpoint: str | None) -> str:
    return f"the {kind} {bucket!r}" + (f" at {endpoint}" if endpoint else "")


class _Clients(NamedTuple):
    """Clients of one bucket."""

    writing: ObjectStore
    """For requests that have to end in time."""
    reading: ObjectStore
    """For those that last while somebody reads."""
    patient: ObjectStore
    """For parts of large files."""


def _clients(name: str, endpoint: str | None, make: Callable[..., ObjectStore]) -> _Clients:
    allow_http = endpoint is not None and endpoint.startswith("http://")

    def client(timeout: timedelta, retries: Any = _RETRIES) -> ObjectStore:
        options = {"allow_http": allow_http, "connect_timeout": _CONNECT, "timeout": timeout}
        return make(client_options=options, retry_config=retries)

    try:
        return _Clients(client(_WRITE), client(_READ), client(_WRITE, _PATIENCE))
    except (BaseError, ValueError) as error:
        raise ConfigurationError(f"{name} cannot be used: {reason_of(error)}.") from None


def _service_account(path: Path, endpoint: str | None) -> str:
    """Return the content of a service account's key, for another server than Google's if there is one."""
    try:
        key = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"storage_credentials_file={path}: cannot be read as JSON: {error}") from None
    return json.dumps(key | {"gcs_base_url": endpoint} if endpoint else key)


def _said(**config: str | bool) -> dict[str, Any]:
    """Return what is not left empty."""
    return {name: value for name, value in config.items() if value != ""}
