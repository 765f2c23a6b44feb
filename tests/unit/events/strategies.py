"""Hypothesis strategies for events: any event, with any values that the types allow."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from penstock.events.objects import UINT64_MAX
from penstock.events.types import EVENT_TYPES, VIRUSSCAN, Envelope, Event, VirusscanResult

# What Go escapes, what JSON escapes, what is two code units in UTF-16, and the neighbours of U+2028.
_AWKWARD = '<>&\u2027\u2028\u2029\u202a\u00e2"\\/\b\f\n\r\t\0\x1f\x7f \u00e9\u00df\ud7ff\ue000\ufffd\uffff\U0001f600'
text = st.text(alphabet=st.one_of(st.sampled_from(_AWKWARD), st.characters(codec="utf-8")), max_size=20)

times = st.builds(
    "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}{}".format,
    st.integers(0, 9999),
    st.integers(1, 12),
    st.integers(1, 28),
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 59),
    st.one_of(st.just(""), st.integers(1, 999_999_999).map(lambda ns: f".{ns:09}".rstrip("0"))),
    st.sampled_from(["Z", "+01:00", "-09:30", "+23:59", "+00:01"]),
)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), UINT64_MAX),
        st.floats(allow_nan=False, allow_infinity=False),
        text,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
    max_leaves=6,
)


def values(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Anything that a field of this type may hold."""
    match kind:
        case inspect.StrType():
            return text
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            return st.integers(kind.ge, UINT64_MAX if kind.le is None else kind.le)
        case inspect.FloatType():
            return st.floats(kind.ge, kind.le)
        case inspect.BytesType():
            return st.binary(max_size=20)
        case inspect.NoneType():
            return st.none()
        case inspect.AnyType():
            return json_values
        case inspect.UnionType():
            return st.one_of([values(member) for member in kind.types])
        case inspect.DictType():
            return st.dictionaries(text, values(kind.value_type), max_size=3)
        case inspect.VarTupleType():
            return st.lists(values(kind.item_type), max_size=3).map(tuple)
        case inspect.StructType():
            return structs(kind.cls)
        case _:
            raise NotImplementedError(f"no strategy for {kind}")


def structs(struct: type[Any]) -> st.SearchStrategy[Any]:
    """Any value of this struct."""
    kind = inspect.type_info(struct)
    assert isinstance(kind, inspect.StructType)
    fields = {field.name: values(field.type) for field in kind.fields}
    if struct is VirusscanResult:
        fields["scandate"] = times
    built: st.SearchStrategy[Any] = st.builds(struct, **fields)
    if "finished_step" in fields:
        # Of that step only, the result has a type; free text will hardly ever be its name.
        scanned = st.builds(
            struct, **{**fields, "finished_step": st.just(VIRUSSCAN), "result": st.none() | structs(VirusscanResult)}
        )
        built = st.one_of(built.filter(lambda event: event.finished_step != VIRUSSCAN), scanned)
    return built


events: st.SearchStrategy[Event] = st.one_of([structs(kind) for kind in EVENT_TYPES.values()])

envelopes: st.SearchStrategy[Envelope] = st.builds(
    Envelope,
    event=events,
    event_id=text,
    initiator_id=text,
    trace_parent=text,
    causation_id=text,
    timestamp=times,
    id=text,
)


def plain(value: msgspec.Struct) -> dict[str, Any]:
    """The JSON object of an event, as Python values."""
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return decoded
