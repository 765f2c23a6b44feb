"""Messages that other services send, made without code of the product."""

from __future__ import annotations

import base64
from typing import Any

from .conversation import compact


def upload(upload_id: str) -> dict[str, Any]:
    return {
        "UploadID": upload_id,
        "SpaceOwner": None,
        "ExecutingUser": {"id": {"idp": "https://idp", "opaque_id": "einstein", "type": 1}},
        "ResourceID": {"opaque_id": upload_id, "space_id": "space"},
        "Filename": "report.pdf",
        "Filesize": 3,
        "URL": f"http://127.0.0.1:1/{upload_id}",
        "Timestamp": None,
        "ImpersonatingUser": None,
    }


def envelope(kind: str, payload: dict[str, Any], *, compactly: bool = False) -> str:
    """An event as a Go service writes it; `compactly`, with as little around it as is understood."""
    _numbers.append(kind)
    metadata = {
        "eventid": f"event-{len(_numbers)}",
        "eventtype": f"events.{kind}",
        "initiatorid": "c",
        "traceparent": "",
    }
    encoded = base64.b64encode(compact(payload).encode()).decode()
    if compactly:
        return compact({"Metadata": metadata, "Payload": encoded})
    return compact(
        {"Timestamp": "2026-11-20T12:00:00Z", "Metadata": metadata, "ID": "x", "Topic": "", "Payload": encoded}
    )


_numbers: list[str] = []


def begun(upload_id: str) -> str:
    return envelope("BytesReceived", upload(upload_id))


def answered(upload_id: str, *, step: str = "customstep", outcome: str = "continue") -> str:
    return envelope(
        "PostprocessingStepFinished",
        {"UploadID": upload_id, "FinishedStep": step, "Outcome": outcome, "Result": None, "Error": None},
    )


def ready(upload_id: str, *, failed: bool = False) -> str:
    return envelope("UploadReady", {"UploadID": upload_id, "Failed": failed})
