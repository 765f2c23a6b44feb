"""Limits and quotas through a real server: refused before a byte is read, in every protocol, and right after a kill."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from penstock.testing import eventually
from tests.servers.cluster import running_cluster
from tests.servers.penstock import PenstockServer

from .raw_http import BYTES, TUS, Connection, Response, TusClient

if TYPE_CHECKING:
    from pathlib import Path

MIB, GIB = 1024**2, 1024**3
RULES = """
[[limit_rules]]
space = "small"
max_size = "1MiB"

[[limit_rules]]
space = "tight"
quota = "10MiB"

[[limit_rules]]
user = ["bob", "eve", "dora"]
max_unfinished = 2

[[limit_rules]]
user = "slow"
max_per_minute = 1

[[limit_rules]]
user = "narrow"
max_receiving = 1
"""
SPACES = {"small": "c21hbGw=", "tight": "dGlnaHQ="}
DRAFT: dict[str, str | int] = {"Upload-Draft-Interop-Version": 10, "Upload-Complete": "?1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PenstockServer]:
    with limited(tmp_path_factory.mktemp("server")) as running:
        yield running


def limited(folder: Path) -> PenstockServer:
    rules = folder / "rules.toml"
    rules.write_text(RULES)
    return PenstockServer(
        folder,
        POSTPROCESSING_STEPS="",
        PENSTOCK_LIMIT_RULES=str(rules),
        PENSTOCK_USER_LIMITS="quota=5GiB",
        PENSTOCK_USER_HEADER="X-User",
        PENSTOCK_TRUSTED_PROXIES="127.0.0.1",
    )


def begin(protocol: str, space: str, size: int) -> tuple[str, str, dict[str, str | int]]:
    """Return method, path and headers of the request that brings a body of this size."""
    if protocol == "put":
        return "PUT", f"/files/a.bin?space={space}", {"Content-Length": size}
    if protocol == "resumable":
        return "POST", f"/uploads/?space={space}", {**DRAFT, "Content-Length": size}
    metadata = f"filename YQ==,space {SPACES[space]}"
    return "POST", "/uploads/", {**BYTES, "Upload-Length": size, "Upload-Metadata": metadata, "Content-Length": size}


@pytest.mark.parametrize("protocol", ["put", "resumable", "tus"])
@pytest.mark.parametrize("waits", [True, False])
def test_what_cannot_be_is_refused_before_its_body(server: PenstockServer, protocol: str, *, waits: bool) -> None:
    expecting = {"Expect": "100-continue"} if waits else {}
    before = server.staging, uploads(server)
    expected: dict[str, tuple[int, dict[str, Any]]] = {
        "small": (413, {"code": "too-large", "limit_bytes": MIB, "needed_bytes": GIB, "resource": "size"}),
        "tight": (507, {"code": "quota-exceeded", "free_bytes": 10 * MIB, "needed_bytes": GIB, "resource": "quota"}),
    }
    for space, (status, facts) in expected.items():
        method, path, headers = begin(protocol, space, GIB)
        with Connection(server.port) as connection:
            connection.head(method, path, {**headers, **expecting})
            refusal = connection.response()
        assert refusal.status == status, refusal
        assert facts.items() <= refusal.problem.items()
        assert refusal.problem["subject"] == {"kind": "space", "name": space}
        if protocol == "resumable" and status == 413:
            assert f"max-size={MIB}" in refusal.headers["upload-limit"]
    after = server.staging, uploads(server)
    assert [one["id"] for one in after[1]] == [one["id"] for one in before[1]]
    assert after[0] == before[0]


def test_a_length_that_comes_later_is_refused_before_the_body_that_comes_with_it(server: PenstockServer) -> None:
    for space, status in {"small": 413, "tight": 507}.items():
        metadata = {"Upload-Metadata": f"space {SPACES[space]}"}
        answer = TusClient(server.port).request("POST", "/uploads/", {**TUS, "Upload-Defer-Length": 1, **metadata})
        path = answer.headers["location"].removeprefix(server.url)
        with Connection(server.port) as connection:
            sizes: dict[str, str | int] = {"Upload-Offset": 0, "Upload-Length": GIB, "Content-Length": GIB}
            connection.head("PATCH", path, {**BYTES, **sizes, "Expect": "100-continue"})
            assert connection.response().status == status
        assert TusClient(server.port).offset(path) == 0


def test_the_sum_of_parts_is_limited(server: PenstockServer) -> None:
    client = TusClient(server.port)
    parts = [client.create(6 * MIB, Upload_Concat="partial") for _ in range(2)]
    for space, status in {"small": 413, "tight": 507}.items():
        headers = {"Upload-Concat": "final;" + " ".join(parts), "Upload-Metadata": f"space {SPACES[space]}"}
        assert client.request("POST", "/uploads/", {**TUS, **headers}).status == status


def test_bytes_of_an_unknown_number_are_refused_where_the_quota_ends(server: PenstockServer) -> None:
    with Connection(server.port) as connection:
        connection.head("PUT", "/files/a.bin?space=tight", {"Transfer-Encoding": "chunked"})
        with contextlib.suppress(OSError):
            for _ in range(12):
                connection.chunk(bytes(MIB))
            connection.chunk(b"")
        assert connection.response().problem["code"] == "quota-exceeded"
    wait(lambda: usage(server)["space", "tight"]["reserved"] == 0)


def test_too_many_unfinished_uploads(server: PenstockServer) -> None:
    client = TusClient(server.port)
    first, _ = create(server, "bob"), create(server, "bob")
    refusal = client.request("POST", "/uploads/", {**TUS, "Upload-Length": 5, "X-User": "bob"})
    assert (refusal.status, refusal.headers["retry-after"]) == (429, "30")
    assert refusal.problem["resource"] == "unfinished"
    create(server, "carol")
    assert client.request("DELETE", first, TUS).status == 204
    create(server, "bob")


def test_too_many_in_a_minute(server: PenstockServer) -> None:
    create(server, "slow")
    refusal = TusClient(server.port).request("PUT", "/files/a", {"X-User": "slow"}, b"x")
    assert refusal.status == 429
    assert refusal.problem["resource"] == "creations"
    assert 0 < int(refusal.headers["retry-after"]) <= 60


def test_too_many_at_the_same_moment(server: PenstockServer) -> None:
    first, second = create(server, "narrow", 10), create(server, "narrow", 10)
    headers: dict[str, str | int] = {
        **BYTES,
        "Upload-Offset": 0,
        "Content-Length": 10,
        "Expect": "100-continue",
    }
    with Connection(server.port) as busy, Connection(server.port) as other:
        busy.head("PATCH", first, headers)
        assert busy.response().status == 100
        busy.send(b"12345")
        other.head("PATCH", second, headers)
        refusal = other.response()
        assert (refusal.status, refusal.headers["retry-after"]) == (429, "2")
        assert refusal.problem["resource"] == "requests"
        busy.send(b"12345")
        assert busy.response().status == 204
    assert TusClient(server.port).patch(second, 0, b"1234567890").status == 204


def test_a_user_is_who_a_trusted_proxy_says(tmp_path: Path) -> None:
    options = {"PENSTOCK_USER_HEADER": "X-User", "PENSTOCK_TRUSTED_PROXIES": "192.0.2.1", "POSTPROCESSING_STEPS": ""}
    with PenstockServer(tmp_path, **options) as server:
        create(server, "bob")
        assert [upload["owner"] for upload in uploads(server)] == [""]


def test_kill_between_reservation_and_end_leaves_the_account_right(tmp_path: Path) -> None:
    """It is killed with an upload half received, is right after its start, and what is cancelled then comes back."""
    with limited(tmp_path) as server:
        survive_kills(server)


def survive_kills(server: PenstockServer) -> None:
    path = TusClient(server.port).create(9 * MIB, Upload_Metadata=f"space {SPACES['tight']}")
    with Connection(server.port) as connection:
        connection.head("PATCH", path, {**BYTES, "Upload-Offset": 0, "Content-Length": 9 * MIB})
        connection.send(bytes(4 * MIB))
        wait(lambda: server.staging and server.staging[0].stat().st_size > MIB)
        server.kill()
    server.start()
    assert usage(server)["space", "tight"] == {
        "kind": "space",
        "name": "tight",
        "used": 0,
        "reserved": 9 * MIB,
        "limit": 10 * MIB,
        "free": MIB,
        "unfinished": 1,
        "max_unfinished": None,
    }
    assert put(server, 2 * MIB).status == 507
    offset = TusClient(server.port).offset(path)
    assert TusClient(server.port).patch(path, offset, bytes(9 * MIB - offset)).status == 204
    wait(lambda: usage(server)["space", "tight"]["used"] == 9 * MIB)
    server.kill()
    server.start()
    assert put(server, 2 * MIB).status == 507
    upload_id = path.rpartition("/")[2]
    assert httpx.delete(f"{server.url}/api/v1/uploads/{upload_id}", trust_env=False).status_code == 204
    assert put(server, 2 * MIB).status == 202


def test_several_instances_never_give_away_more_than_there_is(tmp_path: Path) -> None:
    with running_cluster(tmp_path, 2, PENSTOCK_SPACE_LIMITS="quota=1000") as cluster:
        one, two = cluster.servers

        def begin_one(number: int) -> Response:
            client = TusClient(cluster.servers[number % 2].port)
            return client.request("POST", "/uploads/", {**TUS, "Upload-Length": 90})

        with ThreadPoolExecutor(12) as threads:
            answers = list(threads.map(begin_one, range(48)))
        begun = [answer.headers["location"].rpartition("/")[2] for answer in answers if answer.status == 201]
        assert sorted(answer.status for answer in answers) == [201] * 11 + [507] * 37
        one.kill()
        assert usage(two)["space", "default"]["reserved"] == 990
        assert TusClient(two.port).request("DELETE", f"/uploads/{begun[0]}", TUS).status == 204
        one.start()
        found = [usage(server)["space", "default"] for server in (one, two)]
        assert [(each["reserved"], each["free"], each["unfinished"]) for each in found] == [(900, 100, 10)] * 2
        assert [begin_one(number).status for number in range(2)] == [201, 507]


def test_usage_is_measured_for_those_with_limits_of_their_own(server: PenstockServer) -> None:
    create(server, "frank", 7)
    create(server, "dora", 5)
    metrics = httpx.get(f"{server.url}/metrics", trust_env=False).text
    assert 'penstock_quota_bytes{kind="user",name="dora",what="reserved"} 5.0' in metrics
    assert 'penstock_quota_bytes{kind="space",name="tight",what="limit"} 1.048576e+07' in metrics
    assert "frank" not in metrics
    assert usage(server)["user", "frank"]["free"] == 5 * GIB - 7


def test_my_unfinished_uploads_are_listed_and_continued_by_another_client(server: PenstockServer) -> None:
    path = create(server, "eve", 10)
    create(server, "carol", 10)
    assert TusClient(server.port).patch(path, 0, b"123").status == 204
    [found] = uploads(server, {"X-User": "eve"}, unfinished=True, mine=True)
    assert (found["owner"], found["offset"], found["size"], found["links"]["tus"]) == ("eve", 3, 10, path)
    assert found["expires_at"]
    digest = httpx.get(f"{server.url}{found['links']['self']}/digest", trust_env=False).json()
    assert digest == {
        "offset": 3,
        "sha256": "a665a45920422f9d417e4867efdc4fb8a04a1f3fff1fa07e998e86f7f7a27ae3",
    }
    assert TusClient(server.port).patch(found["links"]["tus"], found["offset"], b"4567890").status == 204
    assert uploads(server, {"X-User": "eve"}, unfinished=True, mine=True) == []


def test_a_copy_counts_for_who_copies(server: PenstockServer) -> None:
    def copy(user: str, *, by_name: bool) -> str:
        to = f"copy-{user}-{by_name}.bin"
        if by_name:
            headers = {"X-User": user, "Destination": f"/files/{to}"}
            answer = httpx.request("COPY", f"{server.url}/files/original.bin", headers=headers)
        else:
            wanted = {"path": "original.bin", "to_path": to}
            answer = httpx.post(f"{server.url}/api/v1/paths/copy", json=wanted, headers={"X-User": user})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    original = httpx.put(f"{server.url}/files/original.bin", content=b"x", headers={"X-User": "copied"})
    wait(lambda: httpx.get(f"{server.url}/files/original.bin").status_code == 200)
    copies = {copy("copier", by_name=by_name) for by_name in (True, False)}
    owners = {upload["id"]: upload["owner"] for upload in uploads(server)}
    assert owners[original.json()["id"]] == "copied"
    assert [owners[one] for one in copies] == ["copier", "copier"]


# --- the ways to ask --------------------------------------------------------------------------------------------------


def create(server: PenstockServer, user: str, size: int = 5) -> str:
    return TusClient(server.port).create(size, X_User=user)


def put(server: PenstockServer, size: int) -> Response:
    return TusClient(server.port).request("PUT", "/files/b.bin?space=tight", {}, bytes(size))


def uploads(server: PenstockServer, headers: dict[str, str] | None = None, **query: bool) -> list[dict[str, Any]]:
    address = f"{server.url}/api/v1/uploads"
    found: list[dict[str, Any]] = httpx.get(address, params=query, headers=headers, trust_env=False).json()["uploads"]
    return found


def usage(server: PenstockServer) -> dict[tuple[str, str], dict[str, Any]]:
    answer = json.loads(httpx.get(f"{server.url}/api/v1/usage", trust_env=False).content)
    return {(one["kind"], one["name"]): one for one in answer["usage"]}


def wait(holds: Callable[[], object]) -> None:
    asyncio.run(eventually(holds))
