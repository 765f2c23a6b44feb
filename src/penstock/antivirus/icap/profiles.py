"""How the known products say that they have found something.

ICAP itself only knows "nothing to change" and "send this instead". What was found stands in fields of the products'
own; some are from an expired draft (draft-stecher-icap-subid) that several vendors follow.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from ...errors import ConfigurationError


class Means(Enum):
    """How the value of a field is to be read."""

    THREAT = "threat"
    """`Type=0; Resolution=2; Threat=NAME;`, where a type of 2 is an archive that cannot be looked into."""
    VIOLATIONS = "violations"
    """How many, then for each of them four lines: file, name, number, resolution."""
    NAME = "name"
    """The name of what was found; or a word such as "none"."""
    ACTION = "action"
    """What was done, in one word, such as `Blocked` or `Allowed`."""


class Profile(msgspec.Struct, frozen=True):
    """How one product answers."""

    fields: tuple[tuple[str, Means], ...]
    """Where it says that something was found: the first one that does so counts."""
    reasons: tuple[str, ...] = ("X-Response-Desc", "X-Blocked-Reason", "X-Block-Reason")
    """Where a name may stand when the field that tells has none."""
    unmodified_is_clean: bool = False
    """Whether the file itself, sent back although the server could have answered 204, is its way to say clean."""


_INFECTION: Final = ("X-Infection-Found", Means.THREAT)
_VIRUS_ID: Final = ("X-Virus-ID", Means.NAME)
_VIOLATIONS: Final = ("X-Violations-Found", Means.VIOLATIONS)
_RESPONSE: Final = ("X-Response-Info", Means.ACTION)
_VIRUS_NAME: Final = ("X-Virus-Name", Means.NAME)
_FSECURE: Final = (("X-FSecure-Infection-Name", Means.NAME), ("X-FSecure-Scan-Result", Means.ACTION))
_BLOCKED: Final = ("X-Blocked", Means.ACTION)

PROFILES: Final[dict[str, Profile]] = {
    "any": Profile(
        (_INFECTION, _VIRUS_ID, _VIRUS_NAME, *_FSECURE, _VIOLATIONS, _RESPONSE, _BLOCKED),
    ),
    "c-icap": Profile((_INFECTION, _VIOLATIONS)),
    "eset": Profile((_INFECTION, _VIRUS_ID)),
    "f-secure": Profile((*_FSECURE, _INFECTION)),
    "fortinet": Profile((_INFECTION, _VIRUS_ID)),
    "kaspersky": Profile((_VIRUS_ID, _INFECTION, _RESPONSE)),
    "mcafee": Profile((_VIRUS_NAME, _INFECTION, _VIRUS_ID)),
    "metadefender": Profile((_INFECTION, _VIRUS_ID, _RESPONSE)),
    "sophos": Profile((_INFECTION, _VIRUS_ID, _BLOCKED)),
    "symantec": Profile((_VIOLATIONS, _INFECTION, _VIRUS_ID)),
    "trend-micro": Profile((_INFECTION, _VIRUS_ID)),
}
"""By name. `any` knows the fields of all of them."""


def profile_of(name: str, header: str = "", *, unmodified_is_clean: bool = False) -> Profile:
    """Return a profile by its name.

    Args:
        name: one of `PROFILES`.
        header: a field that names what was found, looked at before those of the profile; "" for none.
        unmodified_is_clean: see `Profile.unmodified_is_clean`.

    Raises:
        ConfigurationError: there is no such profile.
    """
    profile = PROFILES.get(name)
    if profile is None:
        raise ConfigurationError(f"{name!r} is not a profile of an ICAP product. Choose one of {', '.join(PROFILES)}.")
    fields = profile.fields
    if header:
        known = {key.lower(): means for key, means in PROFILES["any"].fields}
        fields = ((header, known.get(header.lower(), Means.NAME)), *fields)
    return msgspec.structs.replace(
        profile, fields=fields, unmodified_is_clean=unmodified_is_clean or profile.unmodified_is_clean
    )
