"""Identifiers."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from penstock.ids import derived_id, is_upload_id, new_event_id, new_upload_id


def test_upload_ids_are_recognised_and_nothing_else_is() -> None:
    assert is_upload_id(new_upload_id())
    assert new_upload_id() != new_upload_id()
    for text in ("", "0" * 31, "0" * 33, "G" * 32, "../" + "0" * 29, "0" * 32 + "\n", "A" * 32, "٠" * 32):
        assert not is_upload_id(text)


def test_the_same_facts_give_the_same_id_for_ever() -> None:
    assert derived_id("upload", "step", 1) == "b7b74cb3-338f-5b9d-b201-3f1e1bc7bc3b"
    assert derived_id("a", "b") != derived_id("ab")
    assert derived_id("a", 1) != derived_id("a", 2)
    assert new_event_id() != new_event_id()


def test_event_ids_are_random_uuids() -> None:
    for _ in range(50):
        text = new_event_id()
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, uuid.RFC_4122)


@given(st.lists(st.text(st.characters(codec="utf-8")) | st.integers()))
def test_derived_ids_are_name_based_uuids(facts: list[str | int]) -> None:
    namespace = uuid.UUID("8f2f6c1e-3f0a-5d0b-9a3c-70656e73746f")
    assert derived_id(*facts) == str(uuid.uuid5(namespace, "\x1f".join(map(str, facts))))
