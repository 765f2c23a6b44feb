"""The scanner `yara`: YARA rules, run by yara-x in processes of its own. It needs no other server.

Needs: rules that know what you fear. The one that comes with Penstock knows the EICAR test file, so that everything
can be tried out; it is no protection. A stream is kept in a temporary file, without a name, while it is scanned.
"""

from __future__ import annotations

from .rules import RulesInvalid
from .scanner import YaraScanner

__all__ = ["RulesInvalid", "YaraScanner"]
