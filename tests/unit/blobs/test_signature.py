"""Requests to S3 are signed as Amazon's own library signs them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from penstock.blobs.objects.signature import Keys, path_of, query_of, signed_headers


@pytest.mark.parametrize("token", ["", "lent+for/a while"])
@pytest.mark.parametrize(
    ("method", "path", "parameters"),
    [
        ("GET", "/bucket", {"uploads": "", "prefix": "a folder/ü+"}),
        ("DELETE", "/bucket/prefix/0123", {"uploadId": "a/b+c=~"}),
        ("GET", "/", {"uploads": ""}),
    ],
)
def test_the_signature_is_that_of_botocore(method: str, path: str, parameters: dict[str, str], token: str) -> None:
    at = datetime.now(UTC)
    sent_path, query = path_of(path), query_of(parameters)
    ours = signed_headers(
        method, "s3.test:9000", sent_path, query, keys=Keys("key", "secret", token), region="eu-west-1", at=at
    )
    request: Any = AWSRequest(method, f"http://s3.test:9000{sent_path}?{query}", headers={"Host": "s3.test:9000"})
    signer = S3SigV4Auth(Credentials("key", "secret", token or None), "s3", "eu-west-1")
    request.context["timestamp"] = at.strftime("%Y%m%dT%H%M%SZ")
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    request.headers["X-Amz-Content-SHA256"] = ours["x-amz-content-sha256"]
    if token:
        request.headers["X-Amz-Security-Token"] = token
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    assert ours["authorization"].endswith(f"Signature={signature}")
