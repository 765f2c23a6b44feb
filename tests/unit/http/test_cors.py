"""Which pages may upload."""

from __future__ import annotations

import pytest

from penstock.http.cors import Cors

APP = "https://app.example.org"
ASKED = {"origin": APP, "access-control-request-method": "PATCH"}


def test_only_requests_of_pages_are_answered_so() -> None:
    assert Cors(["*"]).headers("PATCH", {}) == {}
    assert Cors([APP]).headers("OPTIONS", {}) == {}


def test_all_pages_may() -> None:
    assert Cors(["*"]).headers("PATCH", {"origin": "null"})["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("origins", [[], ["https://other.example.org"], [f"{APP}:8443"], ["http://app.example.org"]])
def test_other_pages_may_not(origins: list[str]) -> None:
    assert Cors(origins).headers("OPTIONS", ASKED) == {"Vary": "Origin"}
    assert Cors(origins).headers("PATCH", {"origin": APP}) == {"Vary": "Origin"}


def test_a_page_that_may_is_named_and_caches_are_told_that_it_matters() -> None:
    answer = Cors([APP, "https://b.example"]).headers("OPTIONS", {**ASKED, "origin": APP.upper()})
    assert answer["Access-Control-Allow-Origin"] == APP.upper()
    assert answer["Vary"] == "Origin"


@pytest.mark.parametrize(
    ("origins", "origin", "permitted"),
    [(["*"], "null", True), ([APP], APP.upper(), True), ([APP], "null", False), ([], APP, False)],
)
def test_which_pages_are_permitted(origins: list[str], origin: str, *, permitted: bool) -> None:
    assert Cors(origins).permits(origin) is permitted


def test_a_preflight_and_what_follows_it() -> None:
    asked, sent = Cors(["*"]).headers("OPTIONS", ASKED), Cors(["*"]).headers("PATCH", {"origin": APP})
    assert "PATCH" in asked["Access-Control-Allow-Methods"]
    assert {"If-None-Match", "Upload-Offset"} <= set(asked["Access-Control-Allow-Headers"].split(", "))
    assert "Access-Control-Expose-Headers" not in asked
    assert "Upload-Offset" in sent["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Methods" not in sent
