"""The gateway's side of deliveries: which steps get the bytes in another way than by the path in their start event."""

from __future__ import annotations

import os
import secrets
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ..blobs.base import SupportsPath
from ..delivery.sending.claims import Claims
from ..delivery.sending.digests import Digests
from ..delivery.sending.dispatch import Dispatcher
from ..delivery.sending.home import HomeWay
from ..delivery.sending.ledger import Ledger
from ..delivery.sending.on_request import PushOnRequestWay
from ..delivery.sending.once import Once
from ..delivery.sending.presigned import PresignedWay, Returns
from ..delivery.sending.pull import PullWay
from ..delivery.sending.targets import TargetRefused, Targets
from ..delivery.sending.tokens import KEY_BYTES, Tokens
from ..delivery.sending.volume import VolumeWay
from ..errors import ConfigurationError
from ..settings.deliveries import FORM, ONE_TIME, TUS

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from ..blobs.base import BlobStore
    from ..blobs.links import Lending
    from ..bus.base import Bus
    from ..clock import Clock
    from ..db import Database
    from ..delivery.sending.base import Way
    from ..delivery.sending.parcel import Manner
    from ..delivery.sending.push import Pushing
    from ..settings import Settings
    from ..settings.deliveries import Chosen
    from ..store.base import ProgressStore

_KEY_FILE: Final = "delivery.key"


class Dispatching:
    """What hands starts over, and who may fetch bytes.

    Raises:
        ConfigurationError: a way cannot be gone.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: ProgressStore,
        bus: Bus,
        clock: Clock,
        blobs: BlobStore,
        folder: Path,
        lending: Lending | None,
        database: Database,
        key: bytes | None,
    ) -> None:
        """Prepare; `key` is what to sign addresses with. None: what is in the data folder."""
        self._settings = settings
        self._clock = clock
        self._store = store
        self._blobs = blobs
        self._folder = folder
        self._lending = lending
        self._ledger = Ledger(database)
        self._tokens = Tokens(key or _key(settings.data_dir / _KEY_FILE))
        self._digests = Digests(blobs)
        self.ways = {step: self._way(step, chosen) for step, chosen in settings.delivery.items()}
        self.claims = Claims(self._tokens, store)
        home = HomeWay(folder, blobs) if isinstance(blobs, SupportsPath) else None
        self.publisher = Dispatcher(bus, clock, ways=self.ways, store=store, ledger=self._ledger, otherwise=home)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs for as long as the service does."""
        loops = [self.publisher.run()] if self.ways else []
        if self._lending is not None:  # also where no step is lent anything any more
            loops.append(Returns(self._lending, self._store, self._clock).run())
        return loops

    def _way(self, step: str, chosen: Chosen) -> Way:
        match chosen.way:
            case "path" if isinstance(self._blobs, SupportsPath):
                return VolumeWay(chosen.place, self._folder, self._blobs, self._digests)
            case "pull":
                once = Once(self._ledger, self._store) if chosen.place == ONE_TIME else None
                return PullWay(self._url(step, chosen), self._tokens, once=once)
            case "presigned" if self._lending is not None:
                return PresignedWay(
                    self._url(step, chosen),
                    self._tokens,
                    lending=self._lending,
                    blobs=self._blobs,
                    digests=self._digests,
                    life=self._settings.delivery_signed_url_life,
                )
            case "presigned":
                raise self._wrong(step, chosen, "it needs an object store: set storage to s3, azure or gcs")
            case "path":
                raise self._wrong(step, chosen, "bytes are no files where staging is not local")
            case "push":
                return self._push(step, chosen)
            case "push-on-request":
                push = self._push(step, chosen)
                return PushOnRequestWay(self._url(step, chosen), self._tokens, push)
            case _:
                raise self._wrong(step, chosen, "this server cannot do that")

    def _push(self, step: str, chosen: Chosen) -> Way:
        # With these comes an HTTP client, for which nobody else has to wait.
        from ..delivery.sending.posting import Posting
        from ..delivery.sending.push import PushWay
        from ..delivery.sending.putting import Putting
        from ..delivery.sending.tus import Tus

        manners: dict[str, Manner] = {FORM: Posting(), TUS: Tus(self._ledger)}
        return PushWay(chosen.place, self._pushing(step, chosen), manners.get(chosen.manner, Putting()))

    def _pushing(self, step: str, chosen: Chosen) -> Pushing:
        from ..delivery.asking import as_given
        from ..delivery.sending.push import Pushing

        settings = self._settings
        targets = Targets(settings.delivery_push_allow)
        try:
            targets.check_written(as_given(chosen.place).raw_host or "")
        except (TargetRefused, ValueError) as error:
            raise self._wrong(step, chosen, str(error)) from error
        return Pushing(
            blobs=self._blobs,
            digests=self._digests,
            targets=targets,
            clock=self._clock,
            tls=ssl.create_default_context(),
            secret=settings.delivery_push_secret,
            tries=settings.delivery_push_tries,
            stall_limit=settings.delivery_stall_limit,
        )

    def _url(self, step: str, chosen: Chosen) -> str:
        url = self._settings.delivery_url or self._settings.public_url
        if url is None:
            raise self._wrong(step, chosen, "it needs an address of this server: set delivery_url")
        return url

    def _wrong(self, step: str, chosen: Chosen, why: str) -> ConfigurationError:
        return ConfigurationError(f"delivery={step}={chosen} ({self._settings.origins.get('delivery')}): {why}.")


def _key(path: Path) -> bytes:
    """Return the secret that addresses are signed with; it is made once, readable to nobody else.

    Raises:
        ConfigurationError: it cannot be read or made.
    """
    try:
        if not path.exists():
            _make(path)
        key = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}. Make the folder writable for this user.") from error
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{path}: not {KEY_BYTES} bytes. Remove it; a new one is made.")
    return key


def _make(path: Path) -> None:
    """Make the file with all of its bytes at once; where another instance was faster, its file stays."""
    new = path.with_suffix(f".{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(new, path)
    finally:
        new.unlink()
