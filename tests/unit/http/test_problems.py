from __future__ import annotations

import json

import pytest

import penstock.uploads.protocols.names
from penstock.blobs.base import BlobMissing, BlobUnavailable, StorageFull
from penstock.errors import InvalidRequest, NotFound, PenstockError, Unavailable
from penstock.http.problems import answer_to, answer_to_failure, method_not_allowed
from penstock.uploads import errors
from penstock.uploads.allowances import THE_INSTANCE
from penstock.uploads.file_errors import StillProcessing
from penstock.uploads.limits import check_room
from penstock.uploads.protocols import resumable, tus


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest("x"), 400),
        (errors.BadHeader("x"), 400),
        (errors.UnsupportedChecksum("x"), 400),
        (errors.Disconnected("x"), 400),
        (penstock.uploads.protocols.names.UnsafeName("x"), 400),
        (NotFound("x"), 404),
        (errors.Idle("x"), 408),
        (errors.WrongOffset(sent=1, offset=2), 409),
        (errors.Interrupted("x"), 409),
        (errors.Gone("x"), 410),
        (BlobMissing("x"), 410),
        (errors.VersionMismatch("x"), 412),
        (errors.TooLarge("x"), 413),
        (errors.UnsupportedBody("x"), 415),
        (errors.Locked("x"), 423),
        (StillProcessing("x"), 425),
        (errors.TooMany("x", resource="requests", subject=THE_INSTANCE, limit=1, retry_after_seconds=7), 429),
        (errors.ChecksumMismatch("x"), 460),
        (errors.Ending("x"), 503),
        (BlobUnavailable("x"), 503),
        (Unavailable("x"), 503),
        (StorageFull("x"), 507),
        (errors.QuotaExceeded(THE_INSTANCE, needed_bytes=1, quota_bytes=1, used_bytes=1, reserved_bytes=0), 507),
        (PenstockError("x"), 500),
    ],
)
def test_each_error_has_its_status_and_says_what_it_is(error: PenstockError, status: int) -> None:
    answer = answer_to(error)
    body = json.loads(answer.body)
    assert answer.status == body["status"] == status
    assert body["code"] == error.code
    assert body["detail"] == str(error)
    assert body["title"]
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert ("Retry-After" in answer.headers) == (status in (423, 425, 429, 503, 507))


def test_a_conflict_tells_the_offset() -> None:
    assert answer_to(errors.WrongOffset(sent=1, offset=2)).headers["Upload-Offset"] == "2"


def test_what_is_refused_for_now_tells_when_to_come_again_and_what_was_too_much() -> None:
    error = errors.TooMany("x", resource="requests", subject=THE_INSTANCE, limit=4, retry_after_seconds=7)
    answer = answer_to(error)
    assert answer.headers["Retry-After"] == "7"
    assert json.loads(answer.body).items() >= {"resource": "requests", "limit": 4}.items()


def test_a_full_storage_is_told_apart_from_a_quota() -> None:
    quota = errors.QuotaExceeded(THE_INSTANCE, needed_bytes=9, quota_bytes=9, used_bytes=1, reserved_bytes=2)
    facts = {"resource": "quota", "needed_bytes": 9, "free_bytes": 6}
    assert json.loads(answer_to(quota).body).items() >= facts.items()
    assert json.loads(answer_to(StorageFull("full")).body)["resource"] == "storage"
    with pytest.raises(StorageFull) as caught:
        check_room(5, free_bytes=10, promised_bytes=3, spare_bytes=3)
    facts = {"resource": "storage", "needed_bytes": 5, "free_bytes": 4, "reserved_bytes": 3}
    assert json.loads(answer_to(caught.value).body).items() >= facts.items()


def test_a_version_tells_ours() -> None:
    assert answer_to(errors.VersionMismatch("x")).headers["Tus-Version"] == "1.0.0"


def test_a_patch_of_another_type_is_told_which_one_there_is() -> None:
    for ask in (
        lambda: tus.continuation({"upload-offset": "0"}),
        lambda: resumable.append({"upload-offset": "0", "upload-complete": "?1"}, 0, 0),
    ):
        with pytest.raises(errors.UnsupportedBody) as caught:
            ask()
        assert answer_to(caught.value).headers["Accept-Patch"] in str(caught.value)
    assert "Accept-Patch" not in answer_to(errors.UnsupportedBody("x")).headers


def test_a_failure_tells_nothing_of_our_inside() -> None:
    answer = answer_to_failure("GET", "/x", RuntimeError("secret"))
    assert answer.status == 500
    assert b"secret" not in answer.body


def test_a_method_that_is_not_taken() -> None:
    answer = method_not_allowed("BREW", "/pot", ("GET", "PUT"))
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, PUT")
    assert "BREW /pot" in json.loads(answer.body)["detail"]
