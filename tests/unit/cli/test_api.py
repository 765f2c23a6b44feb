from __future__ import annotations

from collections.abc import Callable

import pytest

from penstock.cli.api import Api, Refused, ServerAway, goes_far
from penstock.errors import NotFound
from tests.unit.cli.fake_server import Answer, FakeServer, Fault, Request

pytestmark = pytest.mark.usefixtures("clean_environment")


def test_parameters_that_are_not_given_are_left_out(server: FakeServer) -> None:
    seen: list[Request] = []

    def answer(request: Request) -> Answer:
        seen.append(request)
        return Answer.of({})

    server.routes = {("GET", "/api/v1/x"): answer, ("POST", "/api/v1/x"): answer}
    with Api(server.url) as api:
        api.get("/x", step="ocr", id=None)
        api.post("/x", step="ocr", id=None, dry_run=False)
    assert seen[0].query == {"step": "ocr"}
    assert seen[1].json == {"step": "ocr", "dry_run": False}


def test_all_pages_are_read(server: FakeServer) -> None:
    def answer(request: Request) -> Answer:
        page = int(request.query.get("cursor", "0"))
        return Answer.of({"things": [{"page": page}], "next": str(page + 1) if page < 3 else None})

    server.routes = {("GET", "/api/v1/things"): answer}
    with Api(server.url) as api:
        assert api.pages("/things", "things") == [{"page": page} for page in range(4)]


def test_a_server_that_is_not_there_is_one_line_with_the_way_out(server: FakeServer) -> None:
    server.stop()
    with Api(server.url) as api, pytest.raises(ServerAway) as error:
        api.get("/info")
    assert str(error.value) == (
        f"no server answers at {server.url} (connection refused). Start it with `penstock serve`, or name another one "
        "with --url or PENSTOCK_URL."
    )


def file_of(body: bytes) -> Callable[[Request], Answer]:
    """Answer with a file, or the rest of it."""

    def answer(request: Request) -> Answer:
        asked = request.headers.get("range")
        if asked is None:
            return Answer(200, body, {"ETag": '"one"'})
        begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        return Answer(
            206, body[begin:], {"ETag": '"one"', "Content-Range": f"bytes {begin}-{len(body) - 1}/{len(body)}"}
        )

    return answer


def test_a_file_that_breaks_off_goes_on_from_there(server: FakeServer) -> None:
    body, pauses = bytes(range(256)) * 40, list[float]()
    server.routes = {("GET", "/file"): file_of(body)}
    cut = Fault("GET", "/file", cut_answer_after_bytes=4000)
    server.faults = [cut, cut, Fault("GET", "/file", answer=Answer.problem(503, "busy"))]
    with Api(server.url, pause=pauses.append) as api:
        assert b"".join(api.content("/file")) == body
    assert [request.headers.get("range") for request in server.requests] == [
        None, "bytes=4000-", "bytes=8000-", "bytes=8000-"
    ]  # fmt: skip
    assert server.requests[1].headers["if-match"] == '"one"'
    assert pauses == [0.5, 0.5, 1.0]


def whole_file_of(body: bytes, *tags: str) -> Callable[[Request], Answer]:
    """Answer with all of a file, whatever part is asked for, as some proxies do; with another ETag each time."""
    remaining = iter(tags)
    return lambda _: Answer(200, body, {"ETag": next(remaining)})


@pytest.mark.parametrize("body", [bytes(range(256)) * 40, b'{"n": "%s"}' % (b"x" * 5000)], ids=["bytes", "json"])
def test_of_a_file_that_comes_from_its_beginning_again_only_the_rest_is_taken(server: FakeServer, body: bytes) -> None:
    server.routes = {("GET", "/file"): whole_file_of(body, '"one"', '"one"')}
    server.faults = [Fault("GET", "/file", cut_answer_after_bytes=4000)]
    with Api(server.url, pause=lambda _: None) as api:
        assert b"".join(api.content("/file")) == body
    assert {request.headers["accept-encoding"] for request in server.requests} == {"identity"}


def test_parts_of_two_files_are_not_put_together(server: FakeServer) -> None:
    server.routes = {("GET", "/file"): whole_file_of(bytes(10_000), '"one"', '"two"')}
    server.faults = [Fault("GET", "/file", cut_answer_after_bytes=4000)]
    with Api(server.url, pause=lambda _: None) as api, pytest.raises(Refused, match="another file by now"):
        list(api.content("/file"))


def test_a_file_that_never_goes_on_is_given_up(server: FakeServer) -> None:
    server.routes = {("GET", "/file"): file_of(bytes(10_000))}
    lost = [Fault("GET", "/file", lose_answer=True) for _ in range(7)]
    server.faults = [Fault("GET", "/file", cut_answer_after_bytes=10), *lost]
    pauses = list[float]()
    with Api(server.url, pause=pauses.append) as api, pytest.raises(ServerAway):
        list(api.content("/file"))
    assert len(pauses) == 7


def test_a_server_that_says_nothing_is_away(server: FakeServer) -> None:
    server.faults = [Fault("GET", "/api/v1/info", lose_answer=True)]
    with Api(server.url) as api, pytest.raises(ServerAway, match="no server answers"):
        api.get("/info")


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Answer.problem(404, "there is no upload 'x'"), NotFound, "^there is no upload 'x'$"),
        (Answer.problem(400, "this will not do"), Refused, "^this will not do$"),
        (Answer.problem(500, "something went wrong"), Refused, "^something went wrong$"),
        (Answer.problem(503, "too busy"), ServerAway, "too busy"),
        (Answer(502, b"<html>"), ServerAway, "the server answered 502"),
        (Answer(404, b"<html>"), Refused, "is no Penstock server"),
        (Answer(200, b"<html>"), Refused, "is no Penstock server"),
        (Answer.of([1, 2]), Refused, "is no Penstock server"),
        (Answer(404, b"{}", {"Content-Type": "application/problem+json"}), Refused, "is no Penstock server"),
    ],
)
def test_each_kind_of_answer_is_told_apart(
    server: FakeServer, answer: Answer, kind: type[Exception], words: str
) -> None:
    server.faults = [Fault("GET", "/api/v1/info", answer)]
    with Api(server.url) as api, pytest.raises(kind, match=words) as error:
        api.get("/info")
    assert type(error.value) is kind


@pytest.mark.parametrize(
    ("url", "far"),
    [
        ("http://127.0.0.1:8080", False),
        ("http://[::1]:8080", False),
        ("http://localhost:8080", False),
        ("http://192.0.2.1", True),
        ("https://uploads.example.org", True),
    ],
)
def test_proxies_are_for_other_machines(url: str, far: bool) -> None:
    assert goes_far(url) is far
