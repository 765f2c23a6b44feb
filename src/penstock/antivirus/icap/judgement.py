"""What an answer of an ICAP service says about a file. Only an explicit "nothing to change" about all of it is clean.

| answer | verdict |
|---|---|
| a field that names a find, whatever else | infected; unscannable for archives that could not be looked into |
| 204, after everything was sent | clean |
| 204, or the file itself, before that | unscannable: the service did not want to see the rest |
| 200, and instead of the file an HTTP answer with status 403 | infected, without a name |
| 200, and instead of the file anything else | unscannable: it was rejected, for whatever reason |
| 200, and the file itself, where the service could have answered 204 | unscannable: it gave up (or so we are told) |
| 200, and the file itself, where it could not | clean |
| an error, of the service or of an HTTP server that it stands for | none: `ScannerUnavailable` |
| anything else | none: `ScannerProtocolError` |
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ..base import ScannerProtocolError, ScannerUnavailable, Verdict
from ..limits import verdict_of_signature
from .profiles import Means, Profile
from .protocol import Answer, Fields, Method

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOTHING = {"", "-", "0", "no", "none", "clean", "false", "no threats", "no threat", "no virus", "ok"}
_BAD = {"1", "yes", "true", "block", "blocked", "deny", "denied", "infected", "virus", "virusfound"}
_CONTAINER = {"encrypted archive", "encrypted document", "encrypted", "password protected", "password-protected"}
_THREAT = re.compile(r"Threat=(?P<name>.*?)\s*;?\s*$", re.IGNORECASE | re.DOTALL)
_TYPE = re.compile(r"(?:^|;)\s*Type=(?P<type>\d+)", re.IGNORECASE)
_CONTAINER_TYPE = "2"
_LONGEST_NAME = 300
_UNNAMED = "an unnamed threat"


class Finding(NamedTuple):
    """A verdict with what there is to say about it."""

    verdict: Verdict
    signature: str = ""
    detail: str = ""


def judge(
    answer: Answer,
    method: Method,
    profile: Profile,
    *,
    all_sent: bool,
    could_say_204: bool,
    sent_back: bool | None = None,
) -> Finding:
    """Say what an answer means.

    Args:
        answer: the last answer of the service.
        method: what it was asked with.
        profile: of the product.
        all_sent: whether the service was given all of the file before it answered.
        could_say_204: whether it has said that it can.
        sent_back: whether the body of the answer is the file, byte for byte; None: not looked at.

    Raises:
        ScannerUnavailable: the service says that it failed.
        ScannerProtocolError: the answer is not understood.
    """
    found = _find(answer, profile)
    if found is not None:
        return found
    status = answer.icap.status
    if status == 204:
        return _clean(all_sent=all_sent)
    if status == 200:
        return _changed(answer, method, profile, all_sent=all_sent, could_say_204=could_say_204, sent_back=sent_back)
    said = f"the ICAP server answered {status} {answer.icap.reason[:100]}"
    if status == 404:
        raise ScannerUnavailable(f"{said}: there is no such service. Look at the setting antivirus_icap_service.")
    if status >= 400:
        raise ScannerUnavailable(f"{said}: the service could not scan the file")
    raise ScannerProtocolError(f"{said}, which is no answer to a scan")


def needs_body(answer: Answer, method: Method, profile: Profile, *, could_say_204: bool) -> bool:
    """Tell whether the verdict depends on whether the body is the file that was sent."""
    if answer.icap.status != 200 or not answer.has_body or _find(answer, profile) is not None:
        return False
    return not _is_replaced(answer, method) and (profile.unmodified_is_clean or not could_say_204)


def _clean(*, all_sent: bool) -> Finding:
    if all_sent:
        return Finding(Verdict.CLEAN)
    return Finding(
        Verdict.UNSCANNABLE,
        detail="the ICAP server did not want to see all of the file; it was not scanned. Look at which types and sizes "
        "of files the service is set up for",
    )


def _changed(
    answer: Answer, method: Method, profile: Profile, *, all_sent: bool, could_say_204: bool, sent_back: bool | None
) -> Finding:
    if not answer.parts:
        raise ScannerProtocolError("the ICAP server answered 200 and does not say what it encapsulates")
    if _is_replaced(answer, method):
        return _replaced(answer)
    if could_say_204 and not profile.unmodified_is_clean:
        return Finding(
            Verdict.UNSCANNABLE,
            detail="the ICAP server sent the file back without a verdict; it was not scanned. Look at which types and "
            "sizes of files the service is set up for",
        )
    if sent_back:
        return _clean(all_sent=all_sent)
    return Finding(Verdict.UNSCANNABLE, detail="the ICAP server sent back another file, and does not say why")


def _is_replaced(answer: Answer, method: Method) -> bool:
    """Tell whether what is encapsulated is not the HTTP message that we sent."""
    if method is Method.REQMOD:
        return "res-hdr" in answer.parts
    return answer.http is not None and answer.http.status != 200


def _replaced(answer: Answer) -> Finding:
    head = answer.http
    if head is None:
        raise ScannerProtocolError("the ICAP server encapsulates an HTTP answer without a status")
    said = f"{head.status} {head.reason}".strip()[:_LONGEST_NAME]
    if head.status >= 500:
        raise ScannerUnavailable(f"the ICAP server stands for a server that fails: {said}")
    if head.status == 403:
        return Finding(Verdict.INFECTED, said)
    return Finding(Verdict.UNSCANNABLE, detail=f"the ICAP server rejected the file with {said!r}, without a reason")


def _find(answer: Answer, profile: Profile) -> Finding | None:
    heads = [answer.icap.fields, *([answer.http.fields] if answer.http else [])]
    for fields in heads:
        for name, container in _names(fields, profile):
            signature = name or _reason(heads, profile) or _UNNAMED
            if container or signature.lower() in _CONTAINER:
                detail = "the ICAP server could not look inside of the file"
                return Finding(Verdict.UNSCANNABLE, signature, detail)
            verdict = verdict_of_signature(signature)
            return Finding(verdict, signature, "" if verdict is Verdict.INFECTED else "it could not be scanned wholly")
    return None


def _names(fields: Fields, profile: Profile) -> Iterator[tuple[str, bool]]:
    """Yield what the fields name ("" for something without a name), and whether it is about an archive."""
    for field, means in profile.fields:
        value = fields.get(field)
        if value is None or value.strip().lower() in _NOTHING:
            continue
        if means is Means.ACTION:
            if value.strip().lower() in _BAD:
                yield "", False
        elif means is Means.THREAT:
            kind = _TYPE.search(value)
            yield _threat(value), bool(kind and kind["type"] == _CONTAINER_TYPE)
        elif means is Means.VIOLATIONS:
            lines = [line.strip() for line in value.splitlines()]
            yield _short(lines[2]) if len(lines) > 2 else "", False
        else:
            yield _short(value), False


def _threat(value: str) -> str:
    found = _THREAT.search(value)
    return _short(found["name"] if found else value)


def _reason(heads: list[Fields], profile: Profile) -> str:
    reasons = (fields.get(name) for fields in heads for name in profile.reasons)
    return next((_short(reason) for reason in reasons if reason), "")


def _short(name: str) -> str:
    return " ".join(name.split())[:_LONGEST_NAME].strip('"')
