"""Termination."""

from __future__ import annotations

import pytest

from tests.tus.client import BYTES, Client
from tests.tus.requirement import requirement
from tests.tus.test_core import NOWHERE


@requirement("termination-1", "MUST", "`termination` is announced.")
@pytest.mark.any_storage
def test_termination_is_announced(client: Client) -> None:
    assert "termination" in client.ask("OPTIONS", "/uploads/").words("tus-extension")


@requirement("termination-2", "MUST", "DELETE of an unfinished upload is 204.")
def test_an_unfinished_upload_is_ended(client: Client) -> None:
    path = client.create()
    client.patch(path, 0, b"hello")
    assert client.ask("DELETE", path).status == 204


@requirement("termination-3", "MUST", "DELETE of a complete upload is 204.")
def test_a_complete_upload_is_ended(client: Client) -> None:
    path = client.create(5)
    client.patch(path, 0, b"hello")
    assert client.ask("DELETE", path).status == 204


@requirement("termination-4", "SHOULD", "From then on, HEAD, PATCH and DELETE are answered with 404 or 410.")
def test_what_was_ended_is_gone(client: Client) -> None:
    path = client.create()
    client.ask("DELETE", path)
    assert client.head(path).status == 410
    assert client.patch(path, 0, b"hello").status == 410
    assert client.ask("DELETE", path).status == 410


@requirement("termination-5", "SHOULD", "What was ended tells no offset, so that nobody goes on.")
def test_what_was_ended_has_no_offset(client: Client) -> None:
    path = client.create()
    client.ask("DELETE", path)
    assert "upload-offset" not in client.head(path)


@requirement("termination-6", "SHOULD", "DELETE of what is not there is 404.")
@pytest.mark.any_storage
def test_ending_nothing(client: Client) -> None:
    assert client.ask("DELETE", NOWHERE).status == 404


@requirement("termination-7", "TRAP", "DELETE with a body is no way around anything: the body is not kept.")
def test_delete_with_a_body(client: Client) -> None:
    path = client.create()
    assert client.ask("DELETE", path, {**BYTES, "Upload-Offset": 0, "Content-Length": 5}, b"hello").status == 204
    assert client.head(path).status == 410
