"""The process that runs yara-x: `python -m penstock.antivirus.yara_worker`, started by the scanner `yara` only.

It is a process of its own because a rule may run for ever, use all memory, or hit a file that somebody cuts short
while it is mapped: all of these end this process, and the file counts as not scanned. yara-x also keeps Python's
interpreter lock while it scans, which would make a thread in the server no better than the event loop itself.

Standard input is a socket to the server; each message is a line of JSON:

1. The server sends `{"rules": [paths], "built_in": [paths], "memory_bytes": n}` together with the descriptor of a file
   that has the compiled rules; where it is empty, the rules are compiled and put there. The answer is either
   `{"database": …, "rules": n, "warnings": n}` or `{"invalid_rules": message}` and the end.
2. For each file it then sends `{"size_bytes": n}` together with an open descriptor; the answer is
   `{"matches": [[name, severity], …], "bytes_scanned": n}`, where the severity is the word in the rule's metadata or
   "", or `{"unreadable": message}`.
3. It closes the socket: the process ends. Should the server be killed in the middle of a scan, the kernel kills us.

What is scanned how: a small file is read, a large one mapped, so that rules see it as a whole however large it is.
The mapping needs no memory of its own: its pages are those of the page cache, which the kernel takes back when it
likes (`ps` counts them as resident all the same). The rules that come with Penstock look only for byte patterns, so
with them alone large files are read in overlapping windows, and not even `ps` sees more than a window.

This module imports little, and nothing of the product, so that a worker is small and starts fast.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

import yara_x

WINDOW_BYTES: Final = 2 * 1024 * 1024
OVERLAP_BYTES: Final = 4 * 1024
"""The longest stretch of bytes that a built-in rule may be about."""
_LONGEST_MESSAGE_BYTES: Final = 1024 * 1024
_PR_SET_PDEATHSIG: Final = 1


class InvalidRules(Exception):
    """A rule file cannot be read or does not compile; the message names it and the line."""


class Unreadable(Exception):
    """The bytes cannot be read, or are not all there."""


def main() -> None:
    """Serve the parent until it closes the socket."""
    _die_with_parent()
    parent = socket.socket(fileno=os.dup(0))
    setup, kept = _receive(parent)
    _keep_small(setup["memory_bytes"])
    try:
        rules, described = compiled_rules(setup["rules"], setup["built_in"], kept)
    except InvalidRules as err:
        _send(parent, {"invalid_rules": str(err)})
        return
    _send(parent, described)
    scanner = yara_x.Scanner(rules)
    # We ask which rules match, not how often and where: fewer matches are kept in memory.
    scanner.fast_scan(True)
    in_windows = not setup["rules"]
    while True:
        request, fd = _receive(parent)
        try:
            _send(parent, scan(scanner, fd, request["size_bytes"], in_windows=in_windows))
        finally:
            os.close(fd)


def compiled_rules(paths: list[str], built_in: list[str], kept: int) -> tuple[yara_x.Rules, dict[str, Any]]:
    """Take the rules that an earlier worker has put into `kept`, or compile them and put them there; close it.

    Raises:
        InvalidRules: a file cannot be read or does not compile, or what is kept cannot be used.
    """
    path = f"/proc/self/fd/{kept}"  # opened anew: a position of our own, which other workers do not move
    try:
        if os.fstat(kept).st_size:
            with open(path, "rb") as file:
                return _load(file)
        rules, described = compile_rules(paths, built_in)
        with open(path, "wb") as file:
            file.write(json.dumps(described).encode() + b"\n")
            rules.serialize_into(file)
    finally:
        os.close(kept)
    return rules, described


def _load(file: BinaryIO) -> tuple[yara_x.Rules, dict[str, Any]]:
    described: dict[str, Any] = json.loads(file.readline())
    try:
        return yara_x.Rules.deserialize_from(file), described
    except Exception as err:  # such as after an upgrade of yara-x below a running server
        raise InvalidRules(f"the compiled rules are not understood: {err}") from err


def compile_rules(paths: list[str], built_in: list[str]) -> tuple[yara_x.Rules, dict[str, Any]]:
    """Compile rule files, each in a namespace of its own, and describe the result.

    The database's version is a hash of the compiled rules, so it also changes with an included file.

    Raises:
        InvalidRules: a file cannot be read or does not compile.
    """
    compiler = yara_x.Compiler()
    for path in paths:
        compiler.add_include_dir(str(Path(path).parent))
    for number, path in enumerate([*built_in, *paths]):
        compiler.new_namespace(f"file{number}")  # not the path: the version says what the rules are, not where
        try:
            compiler.add_source(Path(path).read_text(encoding="utf-8"), origin=path)
        except yara_x.CompileError as err:
            raise InvalidRules(_first_error(compiler, path)) from err
        except OSError as err:
            raise InvalidRules(f"{path}: {err.strerror}") from err
        except UnicodeDecodeError as err:
            raise InvalidRules(f"{path}: not UTF-8 at byte {err.start}") from err
    rules = compiler.build()
    digest = _Digest()
    rules.serialize_into(digest)  # type: ignore[arg-type]  # it only calls write and flush
    return rules, {
        "database": digest.hexdigest()[:16],
        "rules": sum(1 for _ in rules),
        "warnings": len(compiler.warnings()),
    }


def _first_error(compiler: yara_x.Compiler, path: str) -> str:
    errors = compiler.errors()
    first = errors[0]
    origin = next((label["code_origin"] for label in first["labels"] if label["code_origin"]), path)
    reason = next((label["text"] for label in first["labels"] if label["text"]), "")
    more = f" ({len(errors) - 1} more in this file)" if len(errors) > 1 else ""
    return f"{origin}:{first['line']}: {first['title']}{': ' if reason else ''}{reason}{more}"


class _Digest:
    """Takes what `serialize_into` writes; a large set of rules need not be in memory twice."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.hexdigest = self._hash.hexdigest

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        return len(data)

    def flush(self) -> None:
        """There is nothing to write through to."""


def scan(scanner: yara_x.Scanner, fd: int, size_bytes: int, *, in_windows: bool) -> dict[str, Any]:
    """Scan all of an open file and return the answer for the server."""
    try:
        if size_bytes <= WINDOW_BYTES or in_windows:
            matches = _scan_windows(scanner, fd, size_bytes)
        else:
            matches = _names(scanner.scan_file(f"/proc/self/fd/{fd}"))
        found_bytes = os.fstat(fd).st_size
    except (OSError, yara_x.ScanError, Unreadable) as err:
        return {"unreadable": str(err)}
    if found_bytes != size_bytes:
        return {"unreadable": f"it has {found_bytes} bytes now, {size_bytes} were announced"}
    return {"matches": sorted(matches), "bytes_scanned": size_bytes}


def _scan_windows(scanner: yara_x.Scanner, fd: int, size_bytes: int) -> set[tuple[str, str]]:
    """Scan windows that overlap; a file that fits into one is scanned as a whole, also an empty one."""
    matches: set[tuple[str, str]] = set()
    start = 0
    while True:
        wanted = min(WINDOW_BYTES, size_bytes - start)
        window = _read(fd, wanted, start)
        matches |= _names(scanner.scan(window))
        del window  # before the next one is read
        if start + wanted >= size_bytes:
            return matches
        start += wanted - OVERLAP_BYTES


def _read(fd: int, wanted: int, start: int) -> bytes:
    data = os.pread(fd, wanted, start)
    while len(data) < wanted:
        more = os.pread(fd, wanted - len(data), start + len(data))
        if not more:
            raise Unreadable(f"it ends after {start + len(data)} bytes")
        data += more
    return data


def _names(results: yara_x.ScanResults) -> set[tuple[str, str]]:
    return {(rule.identifier, _severity(rule)) for rule in results.matching_rules}


def _severity(rule: yara_x.Rule) -> str:
    return next((str(value) for name, value in rule.metadata if name == "severity"), "")


def _receive(parent: socket.socket) -> tuple[dict[str, Any], int]:
    """Wait for one message, with a descriptor or -1; end the process when the server has closed the socket."""
    data, fds, _, _ = socket.recv_fds(parent, 65536, 1)
    while data and not data.endswith(b"\n"):
        more = parent.recv(65536)
        if not more or len(data) > _LONGEST_MESSAGE_BYTES:
            sys.exit(0)
        data += more
    if not data:
        sys.exit(0)
    message: dict[str, Any] = json.loads(data)
    return message, fds[0] if fds else -1


def _send(parent: socket.socket, message: dict[str, Any]) -> None:
    parent.sendall(json.dumps(message).encode() + b"\n")


def _die_with_parent() -> None:
    """Have the kernel kill us when the thread that started us is no more: we cannot look during a scan."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _keep_small(memory_bytes: int) -> None:
    """Limit our own memory (mapped files do not count), and be the first to go when the machine's runs out."""
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # there may be no /proc, or one that is read-only
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    main()
