"""The JSON that is exchanged with etcd."""

from __future__ import annotations

import json

from penstock.store.etcd import wire


def test_a_transaction_is_written_as_etcd_reads_it() -> None:
    request = wire.transaction(
        [wire.unchanged(b"k", 2**60)], [wire.put(b"k", b"\xff"), wire.delete(b"d")], [wire.get(b"k", keys_only=True)]
    )
    assert json.loads(wire.encode(request)) == {
        "compare": [{"key": "aw==", "target": "MOD", "result": "EQUAL", "mod_revision": "1152921504606846976"}],
        "success": [
            {"request_put": {"key": "aw==", "value": "/w=="}},
            {"request_delete_range": {"key": "ZA=="}},
        ],
        "failure": [{"request_range": {"key": "aw==", "keys_only": True}}],
    }


def test_a_range_is_written_as_etcd_reads_it() -> None:
    expected = {"key": "YQ==", "range_end": "Yg==", "limit": 5, "keys_only": False}
    assert json.loads(wire.encode(wire.range_of(b"a", b"b", limit=5))) == expected
    assert json.loads(wire.encode(wire.get_range(b"a", b"b", limit=5))) == {"request_range": expected}


def test_answers_have_numbers_as_strings_and_leave_out_what_is_empty() -> None:
    assert wire.RANGE.decode(b'{"header":{"revision":"7"}}') == wire.Range()
    page = b'{"kvs":[{"key":"aw==","mod_revision":"1152921504606846976","version":"1"}],"more":true,"count":"9"}'
    assert wire.RANGE.decode(page) == wire.Range((wire.KeyValue(b"k", b"", 2**60),), more=True, count=9)


def test_a_transaction_s_answers_are_its_ranges_in_order() -> None:
    answer = wire.TXN.decode(
        b'{"header":{"revision":"7"},"succeeded":true,"responses":['
        b'{"response_put":{"header":{"revision":"7"}}},{"response_range":{"kvs":[{"key":"aw==","value":"dg=="}]}},'
        b'{"response_range":{}}]}'
    )
    assert answer.succeeded
    assert answer.header.revision == 7
    assert answer.ranges == [wire.Range((wire.KeyValue(b"k", b"v"),)), wire.Range()]
    assert wire.TXN.decode(b"{}") == wire.Txn()
