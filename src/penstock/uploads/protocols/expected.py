"""What the bytes of a request must hash to: as its headers say, or the fields after its body.

A body of which something is expected is only kept when all of it is right. tus calls that Checksum and Checksum
Trailer; the fields of RFC 9530 are `Content-Digest`, for the body, and `Repr-Digest`, for the whole file.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import BadHeader, DigestMismatch, MissingTrailer
from .checksum import ALGORITHMS, Checksum, Hash, mismatch, read_checksum
from .digests import CONTENT_DIGEST, REPR_DIGEST, read_digests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

UPLOAD_CHECKSUM: Final = "Upload-Checksum"
TUS_FIELDS: Final = (UPLOAD_CHECKSUM, CONTENT_DIGEST)
_LATER: Final = {UPLOAD_CHECKSUM: tuple(ALGORITHMS)}
"""Which algorithms a field may name after the body; for others, those of RFC 9530."""
_DIGESTS: Final = ("sha256", "sha512")


class Claim(NamedTuple):
    """One checksum, and the field that it came in."""

    field: str
    checksum: Checksum

    @property
    def is_whole(self) -> bool:
        """Whether it is that of the whole file, and not of one body."""
        return self.field == REPR_DIGEST

    def check(self, actual: bytes) -> None:
        """Compare it with the digest of what has arrived.

        Raises:
            ChecksumMismatch: it is another one; if a digest field says so, a `DigestMismatch`.
        """
        if actual == self.checksum.digest:
            return
        if self.field == UPLOAD_CHECKSUM:
            raise mismatch(self.checksum, actual)
        of = "file" if self.is_whole else "body"
        raise DigestMismatch(
            f"{self.field}: the {self.checksum.algorithm} of the {of} is {base64.b64encode(actual).decode()}, not "
            f"{base64.b64encode(self.checksum.digest).decode()}. What came with this request was not kept."
        )


def _no_trailers() -> Mapping[str, str]:
    return {}


class Expected(NamedTuple):
    """What is expected of one request."""

    claims: tuple[Claim, ...] = ()
    """Those of the headers."""
    announced: tuple[str, ...] = ()
    """Fields that come after the body, which may name any algorithm."""
    trailers: Callable[[], Mapping[str, str]] = _no_trailers
    """Returns them, names in lower case, once the body has ended."""

    @classmethod
    def of(cls, checksum: Checksum) -> Expected:
        """Return what a body must hash to, as tus says it."""
        return cls((Claim(UPLOAD_CHECKSUM, checksum),))

    def algorithms(self, *, whole: bool) -> frozenset[str]:
        """Return what has to be computed of the whole file, or of the body."""
        known = {claim.checksum.algorithm for claim in self.claims if claim.is_whole is whole}
        later = [_LATER.get(field, _DIGESTS) for field in self.announced if (field == REPR_DIGEST) is whole]
        return frozenset(known.union(*later))

    def all(self) -> tuple[Claim, ...]:
        """Return all claims, after the end of the body.

        Raises:
            BadHeader: a field that was announced has not come, or cannot be read.
        """
        trailers, claims = self.trailers(), list(self.claims)
        for field in self.announced:
            if field.lower() not in trailers:
                raise MissingTrailer(
                    f"Trailer announces {field}, but it did not come after the body. Nothing was kept."
                )
            claims += read_claims(field, trailers[field.lower()])
        return tuple(claims)

    def check_nothing(self) -> None:
        """Make sure that no bytes at all are what is expected.

        Raises:
            BadHeader: something is said after a body that does not exist.
            ChecksumMismatch: they are not.
        """
        if self.announced:
            raise BadHeader(f"Trailer announces {self.announced[0]}, but there is no body. Send it as a header.")
        for claim in self.claims:
            claim.check(ALGORITHMS[claim.checksum.algorithm]().digest())


class Tally:
    """Hashes what arrives, as far as something is expected of it."""

    def __init__(self, expected: Expected, *, from_start: bool) -> None:
        """`from_start`: the body is the first one of its file; else `add_earlier` comes before `add`."""
        self._expected = expected
        self._body = _hashes(expected.algorithms(whole=False))
        self._whole = _hashes(expected.algorithms(whole=True))
        if from_start:
            self._whole = self._body = self._whole | self._body

    @property
    def wants_earlier(self) -> bool:
        """Whether the bytes before the body count as well."""
        return bool(self._whole) and self._whole is not self._body

    def add_earlier(self, data: bytes | memoryview) -> None:
        """Add bytes that were there before."""
        for one in self._whole.values():
            one.update(data)

    def add(self, data: bytes | memoryview) -> None:
        """Add bytes of the body."""
        for one in self._body.values():
            one.update(data)
        if self.wants_earlier:
            self.add_earlier(data)

    def check(self, *, complete: bool) -> None:
        """Compare what has arrived with all that is expected; `complete`: the file is, so that its claims count.

        Raises:
            ChecksumMismatch: something else has arrived.
            BadHeader: the fields after the body do not say what they should.
        """
        for claim in self._expected.all():
            if complete or not claim.is_whole:
                hashes = self._whole if claim.is_whole else self._body
                claim.check(hashes[claim.checksum.algorithm].digest())


def expected_of(
    headers: Mapping[str, str],
    fields: Sequence[str],
    *,
    later: Sequence[str] | None = None,
    chunked: bool,
    trailers: Callable[[], Mapping[str, str]],
) -> Expected | None:
    """Read what a request's headers say of its bytes; None: nothing.

    Args:
        headers: with names in lower case.
        fields: those that count as headers.
        later: those that count after the body, if `Trailer` announces them; None: the same ones.
        chunked: whether fields may come after the body at all.
        trailers: returns them once the body has ended.

    Raises:
        BadHeader: one of them cannot be read, or nothing can come after this body.
        ChecksumMismatch: a digest has a length that no body's has.
    """
    claims = [
        claim for field in fields if field.lower() in headers for claim in read_claims(field, headers[field.lower()])
    ]
    announced: tuple[str, ...] = ()
    if "trailer" in headers:  # rarely
        named = {name.strip(" \t").lower() for name in headers["trailer"].split(",")}
        announced = tuple(field for field in (fields if later is None else later) if field.lower() in named)
    if announced and not chunked:
        raise BadHeader(
            f"Trailer announces {announced[0]}, which only comes after a chunked body. Send it as a header."
        )
    return Expected(tuple(claims), announced, trailers) if claims or announced else None


def read_claims(field: str, value: str) -> list[Claim]:
    """Read one field.

    Raises:
        BadHeader: it cannot be read, or nothing of it can be verified.
        ChecksumMismatch: a digest has a length that no body's has.
    """
    found = (read_checksum(value),) if field == UPLOAD_CHECKSUM else read_digests(field, value)
    return [Claim(field, checksum) for checksum in found]


def _hashes(algorithms: frozenset[str]) -> dict[str, Hash]:
    return {name: ALGORITHMS[name]() for name in algorithms}
