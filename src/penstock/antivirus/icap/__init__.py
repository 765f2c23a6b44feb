"""The scanner `icap`: an antivirus service behind an ICAP server (RFC 3507), such as c-icap or a vendor's appliance.

Needs: a service that scans all types of files, up to the size that we are told; with c-icap's `virus_scan` that is
`ScanFileTypes TEXT DATA EXECUTABLE ARCHIVE GRAPHICS STREAM DOCUMENT` and `MaxObjectSize`. It leaves nothing behind.
"""

from __future__ import annotations

from .scanner import IcapScanner

__all__ = ["IcapScanner"]
