"""Writes docs/reference/events.md from the event types; with --check only says whether it is up to date."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from itertools import pairwise
from typing import Any, cast

from msgspec import inspect as kinds

from penstock.events import objects, types
from penstock.events.codec import TOPIC, encode
from penstock.events.gojson import dumps
from scripts.generated import write_or_compare

OURS = ("CancelPostprocessing", "PostprocessingStepProgress")
SHARED = ("UserId", "User", "Opaque", "OpaqueEntry", "ResourceId", "Reference", "Timestamp")

INTRODUCTION = """\
# Events

<!-- Made by scripts/generate_events_doc.py from src/penstock/events/. Change it there. -->

The parts of Penstock talk to each other, and to the Go services of oCIS and OpenCloud, in these events. Python names
are those of `penstock.events.types`; wire names are the keys of the JSON.

## The message

One JSON object, compact, with its keys in this order:

| Key | Meaning |
|---|---|
| `Timestamp` | when it was sent: RFC 3339 with up to nine decimals, trailing zeros cut |
| `Metadata` | strings: the keys below, in alphabetical order |
| `ID` | names this sending; not the same as `eventid`, which stays when an event is sent again |
| `Topic` | `{topic}` |
| `Payload` | the event's own JSON, in base64 with padding |

| Key of `Metadata` | Meaning |
|---|---|
| `causationid` | ours: the `eventid` of the start that a step answers; left out when empty |
| `eventid` | names the event, also when it is sent again after a crash; empty if unknown |
| `eventtype` | `events.` and the name of the event, such as `events.BytesReceived` |
| `initiatorid` | the client that began the upload; empty if unknown |
| `traceparent` | W3C trace context; empty if there is none |

For instance:

```json
{message}
```

whose payload is

```json
{payload}
```

## What is accepted

Whatever Go's `encoding/json` accepts: keys in any order and in any case, unknown keys (skipped), missing keys and
null (zero values), a missing `Timestamp`, `ID` or `Topic`. Of `Metadata`, `eventtype` must be there, letter for
letter, and all values must be strings. Numbers in quotes, `5.0` for an integer, a negative size, a time without
zone, base64 without padding, and an `Error` that is not null are refused, and by Go services too.

- An event type that is not listed here is somebody else's: it is acknowledged and ignored (`unknown-event-type`).
- A listed one that cannot be read is an error of its sender: it is acknowledged and reported
  (`undecodable-event`), since it would never become readable.

## What a step answers

A step service sends `PostprocessingStepFinished`. A `PostprocessingFinished` with a `FinishedStep` in it, as the
manuals of oCIS describe it, is understood as the same; but a Go storage provider on the same bus takes it for the end
of the upload, so a new step had better not send it. The smallest answer that works:

```json
{answer}
```

| Outcome | Meaning |
|---|---|
{outcomes}
"""


def attribute_docs(struct: type[Any]) -> dict[str, str]:
    """The string below each field, which Python itself throws away."""
    definition = cast("ast.ClassDef", ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0])
    docs: dict[str, str] = {}
    for field, text in pairwise(definition.body):
        match field:
            case ast.AnnAssign(target=target) | ast.Assign(targets=[target]):
                pass
            case _:
                continue
        if isinstance(target, ast.Name) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            docs[target.id] = " ".join(str(text.value.value).split())
    return docs


def kind_name(kind: kinds.Type) -> str:
    """What to call a type of JSON value."""
    match kind:
        case kinds.StrType():
            return "string"
        case kinds.BoolType():
            return "bool"
        case kinds.IntType():
            return "integer"
        case kinds.FloatType():
            return "number"
        case kinds.BytesType():
            return "base64"
        case kinds.NoneType():
            return "null"
        case kinds.AnyType():
            return "anything"
        case kinds.StructType():
            return f"[{kind.cls.__name__}](#{kind.cls.__name__.lower()})"
        case kinds.VarTupleType():
            return f"list of {kind_name(kind.item_type)}"
        case kinds.DictType():
            return f"object of {kind_name(kind.value_type)}"
        case kinds.UnionType():
            members = sorted(kind.types, key=lambda member: isinstance(member, kinds.NoneType))
            return " or ".join(kind_name(member) for member in members)
        case _:
            raise NotImplementedError(f"no name for {kind}")


def section(struct: type[Any]) -> str:
    """Heading, docstring and table of one struct."""
    kind = cast("kinds.StructType", kinds.type_info(struct))
    docs = attribute_docs(struct)
    lines = [f"### {struct.__name__}", "", inspect.getdoc(struct) or "", "", "| Python | Wire | Type | Meaning |"]
    lines.append("|---|---|---|---|")
    for field in kind.fields:
        name = kind_name(field.type)
        lines.append(f"| `{field.name}` | `{field.encode_name}` | {name} | {docs[field.name]} |")
    return "\n".join(lines)


def sections(structs: list[type[Any]]) -> str:
    """Several of them."""
    return "\n\n".join(section(struct) for struct in structs)


def render() -> str:
    """The whole page."""
    example = types.Envelope(
        event=types.ResumePostprocessing(
            upload_id="0b2d9c2e", timestamp=types.Timestamp(seconds=1739461818, nanos=613549880)
        ),
        event_id="db2f3a0e-4e3f-4a39-b0a5-0a3c4bd0a6c5",
        timestamp="2025-02-13T15:50:18.61355509Z",
        id="5cb7d2ab-bf19-4e4c-8d0a-1c9e3c7d3a55",
    )
    outcomes = attribute_docs(types.Outcome)
    introduction = INTRODUCTION.format(
        topic=TOPIC,
        message=encode(example).decode(),
        payload=dumps(example.event).decode(),
        answer=dumps({"UploadID": "0b2d9c2e", "FinishedStep": "thumbnail", "Outcome": "continue"}).decode(),
        outcomes="\n".join(f"| `{outcome}` | {outcomes[outcome.name]} |" for outcome in types.Outcome),
    )
    events = [kind for name, kind in types.EVENT_TYPES.items() if name not in OURS]
    parts = [
        introduction,
        "Any other string ends the upload with just that outcome; the storage provider treats it like `abort`.\n",
        "## Events of the Go services\n\nAll keys are always written, in this order.\n",
        sections(events),
        "\n## Events of ours\n\nGo services ignore them.\n",
        sections([types.EVENT_TYPES[name] for name in OURS]),
        "\n## Objects within events\n",
        "What is empty, zero, false or null is left out; in VirusscanResult and ScanDetails, all keys\nare written.\n",
        sections([getattr(objects, name) for name in SHARED] + [types.VirusscanResult, types.ScanDetails]),
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(write_or_compare({"events.md": render()}))
