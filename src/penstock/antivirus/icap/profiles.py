"""How the known products say that they have found something.

ICAP itself only knows "nothing to change" and "send this instead". What was found stands in fields of the products'
own; some are from an expired draft that several vendors follow. Where this is from:

- X-Infection-Found, X-Virus-ID, X-Violations-Found: https://datatracker.ietf.org/doc/html/draft-stecher-icap-subid-00,
  and as Clearswift has it:
  https://clearswifthelp.clearswift.com/SIG/480/en/Content/Sections/SystemsCenter/SYCICAPVirusResponseHeaders.htm
- `c-icap`: a run with Debian's virus_scan
- `kaspersky`: https://support.kaspersky.com/ScanEngine/2.1/en-US/221159.htm; its fields have to be switched on
- `metadefender`: https://www.opswat.com/docs/mdicap/operating/icap-response-headers
- `trend-micro`: https://docs.trendmicro.com/all/ent/ddan/v6.8/en-us/ddan_6.8_olh/ICAP-Header-Response.html
- `symantec`: https://techdocs.broadcom.com/us/en/symantec-security-software/endpoint-security-and-management/
  symantec-protection-engine/9-1-0 on its ICAP response headers
- `fortinet`: https://docs.fortinet.com/document/fortisandbox/4.4.3/administration-guide/939729: FortiSandbox answers
  previews with 204 whatever is in them, and sends a file back as it was when it has no verdict on it, too
- `eset`, `f-secure`, `mcafee`, `sophos`, and what Kaspersky Web Traffic Security says: answers that others have
  recorded, in lualib/lua_scanners/icap.lua of https://github.com/rspamd/rspamd
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
    RESULT = "result"
    """What came of the scan, in one word, such as `clean` or `infected`; any other says that it did not look."""


class Profile(msgspec.Struct, frozen=True):
    """How one product answers."""

    fields: tuple[tuple[str, Means], ...]
    """Where it says that something was found: the first one that does so counts."""
    reasons: tuple[str, ...] = ("X-Response-Desc", "X-Blocked-Reason", "X-Block-Reason", "X-MWG-Block-Reason")
    """Where it says why, when no field has a name."""
    preview: bool = True
    """Whether what it says to the beginning of a file is to be asked for."""
    unmodified_is_clean: bool = False
    """Whether the file itself, sent back although the server could have answered 204, is its way to say clean."""


_INFECTION: Final = ("X-Infection-Found", Means.THREAT)
_VIRUS_ID: Final = ("X-Virus-ID", Means.NAME)
_VIOLATIONS: Final = ("X-Violations-Found", Means.VIOLATIONS)
_RESPONSE: Final = ("X-Response-Info", Means.ACTION)
_VIRUS_NAME: Final = ("X-Virus-Name", Means.NAME)
_FSECURE: Final = (("X-FSecure-Infection-Name", Means.NAME), ("X-FSecure-Scan-Result", Means.RESULT))
_BLOCKED: Final = ("X-Blocked", Means.NAME)

PROFILES: Final[dict[str, Profile]] = {
    "any": Profile(
        (_INFECTION, _VIRUS_ID, _VIRUS_NAME, *_FSECURE, _VIOLATIONS, _RESPONSE, _BLOCKED),
    ),
    "c-icap": Profile((_INFECTION, _VIOLATIONS)),
    "eset": Profile((_INFECTION, _VIRUS_ID, _RESPONSE)),
    "f-secure": Profile((*_FSECURE, _INFECTION)),
    "fortinet": Profile((_INFECTION, _VIRUS_ID), preview=False),
    "kaspersky": Profile((_VIRUS_ID, _INFECTION, _VIOLATIONS, _RESPONSE)),
    "mcafee": Profile((_VIRUS_NAME, _INFECTION, _VIRUS_ID)),
    "metadefender": Profile((_INFECTION, _VIRUS_ID, _VIOLATIONS, _RESPONSE)),
    "sophos": Profile((_INFECTION, _VIRUS_ID, _BLOCKED)),
    "symantec": Profile((_VIOLATIONS, _INFECTION, _VIRUS_ID)),
    "trend-micro": Profile((_INFECTION, _VIRUS_ID)),
}
"""By name. `any` knows the fields of all of them."""


def profile_of(name: str, header: str, *, unmodified_is_clean: bool = False) -> Profile:
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
