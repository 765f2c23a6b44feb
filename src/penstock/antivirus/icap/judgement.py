"""What an answer of an ICAP service says about a file. Only an explicit "nothing to change" about all of it is clean.

| answer | verdict |
|---|---|
| a field that names a find, whatever else | infected; unscannable for archives that could not be looked into |
| 204, after everything was sent | clean |
| 204, or the file itself, before that | unscannable: the service did not want to see the rest |
| 200, and instead of the file an HTTP answer with status 403 | infected; unscannable where the reason says so |
| 200, and instead of the file anything else | unscannable: it was rejected, for whatever reason |
| 200, and the file itself, where the service could have answered 204 | unscannable: it gave up (or so we are told) |
| 200, and the file itself, where it could not | clean |
| an error, of the service or of an HTTP server that it stands for | none: `ScannerUnavailable` |
| anything else | none: `ScannerProtocolError` |
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from ..base import ScannerProtocolError, ScannerUnavailable, Verdict
from ..limits import verdict_of_signature
from .profiles import Means, Profile
from .protocol import Method

if TYPE_CHECKING:
    from collections.abc import Callable

    from .answers import Answer, Fields

_NOTHING = {"", "-", "0", "no", "none", "clean", "false", "no threats", "no threat", "no virus", "ok"}
_BAD = {"1", "yes", "true", "block", "blocked", "deny", "denied", "infected", "virus", "virusfound"}
_SUSPECT = _BAD | {"suspected", "suspicious", "malware", "spyware", "riskware", "spam", "phishing"}
_CONTAINER = {"encrypted archive", "encrypted document", "encrypted", "password protected", "password-protected"}
_NOT_LOOKED = re.compile(
    r"encrypt|password|not supported|unsupported|\b(media|file|content) ?type|\b(max|over)?size|exceed|\blimit|"
    r"\btoo (large|deep)|\bnest(ed|ing)|corrupt|damaged|\bfail|\berror|\btime ?out|\btimed out",
    re.IGNORECASE,
)
"""What a reason says, never the name of a virus, when the service did not look, or not everywhere."""
_FOUND = re.compile(
    r"\binfected\b|\b(virus|malware|trojan|worm|threat)\W+(was |were )?(found|detected)\b", re.IGNORECASE
)
"""What a reason says when something was found, whatever the name has in it."""
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
        sent_back: whether the answer encapsulates the file, byte for byte; None: not looked at.

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
        return _replaced(answer, profile)
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


def _replaced(answer: Answer, profile: Profile) -> Finding:
    head = answer.http
    if head is None:
        raise ScannerProtocolError("the ICAP server encapsulates an HTTP answer without a status")
    said = f"{head.status} {head.reason}".strip()[:_LONGEST_NAME]
    if head.status >= 500:
        raise ScannerUnavailable(f"the ICAP server stands for a server that fails: {said}")
    if head.status == 403:
        return _for_a_reason(_reason(_heads(answer), profile) or said)
    return Finding(Verdict.UNSCANNABLE, detail=f"the ICAP server rejected the file with {said!r}, without a reason")


def _find(answer: Answer, profile: Profile) -> Finding | None:
    heads = _heads(answer)
    for fields in heads:
        for field, means in profile.fields:
            value = fields.get(field)
            if value is None or value.strip().lower() in _NOTHING:
                continue
            found = _READ[means](value)
            if found is not None:
                return found if found.signature else _for_a_reason(_reason(heads, profile) or _UNNAMED)
    return None


def _heads(answer: Answer) -> list[Fields]:
    return [answer.icap.fields, *([answer.http.fields] if answer.http else [])]


def _read_name(value: str) -> Finding:
    return _named(_short(value))


def _read_threat(value: str) -> Finding:
    kind = _TYPE.search(value)
    if kind and kind["type"] == _CONTAINER_TYPE:
        return _not_inside(_threat(value) or "container")
    return _named(_threat(value))


def _read_violations(value: str) -> Finding:
    lines = [line.strip() for line in value.splitlines()]
    return _named(_short(lines[2]) if len(lines) > 2 else "")


def _read_action(value: str) -> Finding | None:
    return Finding(Verdict.INFECTED) if value.strip().lower() in _BAD else None


def _read_result(value: str) -> Finding:
    if value.strip().lower() in _SUSPECT:
        return Finding(Verdict.INFECTED)
    return Finding(Verdict.UNSCANNABLE, _short(value), "the ICAP server did not look at all of the file")


_READ: Final[dict[Means, Callable[[str], Finding | None]]] = {
    Means.THREAT: _read_threat,
    Means.VIOLATIONS: _read_violations,
    Means.NAME: _read_name,
    Means.ACTION: _read_action,
    Means.RESULT: _read_result,
}
"""How a field is read; a finding without a signature is one whose name is to be found elsewhere."""


def _named(signature: str) -> Finding:
    if signature.lower() in _CONTAINER:
        return _not_inside(signature)
    verdict = verdict_of_signature(signature)
    return Finding(verdict, signature, "" if verdict is Verdict.INFECTED else "it could not be scanned wholly")


def _for_a_reason(reason: str) -> Finding:
    return _named(reason) if _FOUND.search(reason) or not _NOT_LOOKED.search(reason) else _not_inside(reason)


def _not_inside(signature: str) -> Finding:
    return Finding(Verdict.UNSCANNABLE, signature, "the ICAP server could not look inside of the file")


def _threat(value: str) -> str:
    found = _THREAT.search(value)
    return _short(found["name"] if found else value)


def _reason(heads: list[Fields], profile: Profile) -> str:
    reasons = (fields.get(name) for fields in heads for name in profile.reasons)
    return next((_short(reason) for reason in reasons if reason), "")


def _short(name: str) -> str:
    return " ".join(name.split())[:_LONGEST_NAME].strip('"')
