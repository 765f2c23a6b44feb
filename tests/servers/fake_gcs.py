"""A fake of Google Cloud Storage, for no server of it runs outside of Google: what its XML API says to obstore.

It does what Google's reference of the XML API describes (PUT, GET, HEAD and DELETE of objects with generations and
`x-goog-if-generation-match`, copies, lists, multipart uploads), and nothing of it else. It asks for no token, and of a
signed URL only by whom it was signed and that it has not expired. What Google does beyond that it cannot show.
"""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from penstock.blobs.objects import GcsPlace

from .web import QuietHandler, serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_PAGE = 1000
_XML = '<?xml version="1.0" encoding="UTF-8"?>'


@dataclass(frozen=True)
class _Object:
    body: bytes
    generation: int
    noted: dict[str, str]
    """Its content type and metadata, as headers."""
    written_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def headers(self) -> dict[str, str]:
        return {
            **self.noted,
            "ETag": f'"{hashlib.md5(self.body).hexdigest()}"',  # noqa: S324  Google's
            "x-goog-generation": str(self.generation),
            "Last-Modified": format_datetime(self.written_at, usegmt=True),
        }


class _Refused(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class FakeGcs:
    """The fake, and a client that looks behind the product's back."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.endpoint = endpoint
        account = _service_account()
        self.key_file = folder / "key.json"
        """As Google gives it out: whoever works with it asks Google for tokens, but signs by himself."""
        self.key_file.write_text(json.dumps(account))
        self.credentials_file = folder / "no-tokens.json"
        """For clients that ask for no tokens, which nobody gives out here. They cannot sign."""
        self.credentials_file.write_text(json.dumps(account | {"disable_oauth": True}))
        self.objects: dict[str, dict[str, _Object]] = {}
        self.unfinished: dict[str, dict[int, bytes]] = {}
        """Multipart uploads that nobody has ended: their parts."""
        self.lock = threading.Lock()
        self.numbers = count(1)

    def new_bucket(self) -> str:
        """Make a bucket of its own for somebody."""
        with self.lock:
            name = f"bucket-{next(self.numbers)}"
            self.objects[name] = {}
        return name

    def place(self, bucket: str, *, prefix: str = "", signs: bool = False) -> GcsPlace:
        """What the product keeps files with in a bucket, or what signs addresses there and can do nothing else."""
        credentials = self.key_file if signs else self.credentials_file
        return GcsPlace(bucket, prefix=prefix, endpoint=self.endpoint, credentials_file=credentials)

    def content(self, bucket: str, key: str) -> bytes | None:
        """What an object holds; None: there is none."""
        with self.lock:
            found = self.objects[bucket].get(key)
        return None if found is None else found.body


def _service_account() -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    who = "penstock@example.iam.gserviceaccount.com"
    return {"private_key": text, "private_key_id": "1", "client_email": who}


@contextmanager
def running_fake_gcs(folder: Path) -> Iterator[FakeGcs]:
    """Run a fake, whose key is in `folder`."""
    with serving(_Handler) as server:
        _Handler.fake = fake = FakeGcs(server.url, folder)
        yield fake


class _Handler(QuietHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeGcs

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        bucket, _, key = unquote(url.path.lstrip("/")).partition("/")
        asked = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        with self.fake.lock:
            try:
                self._check_signature(asked)
                status, headers, answer = self._answer(self._bucket(bucket), bucket, key, asked, body)
            except _Refused as refused:
                status, headers = refused.status, {}
                answer = f"{_XML}<Error><Code>{refused.code}</Code></Error>".encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(answer))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _bucket(self, name: str) -> dict[str, _Object]:
        objects = self.fake.objects.get(name)
        if objects is None:
            raise _Refused(404, "NoSuchBucket")
        return objects

    def _answer(
        self, objects: dict[str, _Object], bucket: str, key: str, asked: Mapping[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        match self.command:
            case "GET" if not key:
                return 200, {}, _listing(objects, asked)
            case "GET" | "HEAD":
                return self._read(_existing(objects, key))
            case "POST" if "uploads" in asked:
                upload_id = f"upload-{next(self.fake.numbers)}"
                self.fake.unfinished[upload_id] = {}
                names = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{upload_id}</UploadId>"
                return 200, {}, f"{_XML}<InitiateMultipartUploadResult>{names}</InitiateMultipartUploadResult>".encode()
            case "PUT" if "partNumber" in asked:
                self._parts(asked)[int(asked["partNumber"])] = body
                return 200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, b""  # noqa: S324
            case "POST" if "uploadId" in asked:
                parts = self._parts(asked)
                made = self._write(objects, key, b"".join(parts[number] for number in sorted(parts)))
                del self.fake.unfinished[asked["uploadId"]]
                tag = f"<ETag>{made.headers['ETag']}</ETag>"
                answer = f"{_XML}<CompleteMultipartUploadResult>{tag}</CompleteMultipartUploadResult>"
                return 200, {"x-goog-generation": str(made.generation)}, answer.encode()
            case "DELETE" if "uploadId" in asked:
                self._parts(asked)
                del self.fake.unfinished[asked["uploadId"]]
                return 204, {}, b""
            case "PUT":
                source = unquote(self.headers.get("x-goog-copy-source", "")).lstrip("/").partition("/")
                if source[0]:
                    body = _existing(self.fake.objects.get(source[0], {}), source[2]).body
                made = self._write(objects, key, body)
                said = f"{_XML}<CopyObjectResult/>".encode() if source[0] else b""
                return 200, {name: made.headers[name] for name in ("ETag", "x-goog-generation")}, said
            case "DELETE":
                _existing(objects, key)
                del objects[key]
                return 204, {}, b""
        raise _Refused(501, "NotImplemented")

    def _read(self, found: _Object) -> tuple[int, dict[str, str], bytes]:
        body, headers = found.body, found.headers
        if self.headers.get("If-Match", headers["ETag"]) != headers["ETag"]:
            raise _Refused(412, "PreconditionFailed")
        wanted = self.headers.get("Range", "")
        if self.command == "HEAD":
            return 200, headers | {"Content-Length": str(len(body))}, b""
        if not wanted:
            return 200, headers, body
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        begin = int(first) if first else max(0, len(body) - int(last))
        end = min(int(last) + 1, len(body)) if first and last else len(body)
        if begin >= len(body):
            raise _Refused(416, "InvalidRange")
        return 206, headers | {"Content-Range": f"bytes {begin}-{end - 1}/{len(body)}"}, body[begin:end]

    def _write(self, objects: dict[str, _Object], key: str, body: bytes) -> _Object:
        expected = self.headers.get("x-goog-if-generation-match")
        present = objects.get(key)
        if expected is not None and int(expected) != (0 if present is None else present.generation):
            raise _Refused(412, "PreconditionFailed")
        noted = {
            name: value
            for name, value in self.headers.items()
            if name.lower() == "content-type" or name.lower().startswith("x-goog-meta-")
        }
        made = objects[key] = _Object(body, next(self.fake.numbers), noted)
        return made

    def _parts(self, asked: Mapping[str, str]) -> dict[int, bytes]:
        parts = self.fake.unfinished.get(asked["uploadId"])
        if parts is None:
            raise _Refused(404, "NoSuchUpload")
        return parts

    def _check_signature(self, asked: Mapping[str, str]) -> None:
        """A URL that is signed (V4) names who signed it, and for how long it holds."""
        if "X-Goog-Date" not in asked:
            return
        signed_at = datetime.strptime(asked["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if datetime.now(UTC) > signed_at + timedelta(seconds=int(asked["X-Goog-Expires"])):
            raise _Refused(400, "ExpiredToken")
        if not asked.get("X-Goog-Signature") or "penstock@" not in asked["X-Goog-Credential"]:
            raise _Refused(403, "SignatureDoesNotMatch")

    def log_message(self, *arguments: object) -> None:
        del arguments


def _existing(objects: Mapping[str, _Object], key: str) -> _Object:
    found = objects.get(key)
    if found is None:
        raise _Refused(404, "NoSuchKey")
    return found


def _listing(objects: Mapping[str, _Object], asked: Mapping[str, str]) -> bytes:
    """Answer a list of objects, version 2."""
    prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "")
    after = asked.get("continuation-token") or asked.get("start-after", "")
    names = [name for name in sorted(objects) if name.startswith(prefix) and name > after]
    page, folders, told = names[:_PAGE], set[str](), list[str]()
    for name in page:
        folder, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
        if found:
            folders.add(prefix + folder + delimiter)
            continue
        one = objects[name]
        told.append(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(one.body)}</Size><ETag>{escape(one.headers['ETag'])}</ETag>"
            f"<LastModified>{one.written_at:%Y-%m-%dT%H:%M:%S.%fZ}</LastModified></Contents>"
        )
    told += [f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in sorted(folders)]
    more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if len(names) > _PAGE else ""
    return f"{_XML}<ListBucketResult>{''.join(told)}{more}</ListBucketResult>".encode()
