"""One worker process, seen from the server."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Self

import msgspec

from ..base import ScannerProtocolError, ScannerUnavailable
from .rules import RulesInvalid

if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from .compiled import CompiledRules

_MODULE = "penstock.antivirus.yara_worker"
_START_SECONDS = 120.0
"""Compiling ten thousand rules takes several seconds of a busy machine."""
_END_SECONDS = 5.0
_LONGEST_MESSAGE_BYTES = 4 * 1024 * 1024
_PASSED_ON = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TZ")


class Setup(msgspec.Struct, frozen=True):
    """What a worker is told at its start."""

    rules: list[str]
    built_in: list[str]
    memory_bytes: int


class Ready(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker says of itself when its rules are compiled."""

    database: str
    """A hash of the rules as they were compiled."""
    rules: int
    warnings: int


class _NotReady(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    invalid_rules: str


class Scanned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker says of a file."""

    matches: list[tuple[str, str]] | None = None
    """The rules that match, by name and by what their metadata call severity ("": they say nothing)."""
    bytes_scanned: int = 0
    unreadable: str | None = None
    """Why there is no result; then `matches` is None."""


class Worker:
    """A running worker, with its rules compiled, for one file at a time."""

    def __init__(self, process: Process, channel: socket.socket, errors_fd: int) -> None:
        self._process = process
        self._channel = channel
        self._errors_fd = errors_fd
        self.ready = Ready(database="", rules=0, warnings=0)
        self.rules: CompiledRules | None = None
        """What it scans with; None until it is ready."""

    @classmethod
    async def start(cls, setup: Setup, compiled: CompiledRules) -> Self:
        """Start a process that uses the compiled rules or, where there are none yet, compiles and seals them.

        Raises:
            RulesInvalid: they do not compile.
            ScannerUnavailable: the process does not start, or takes too long.
        """
        with compiled.descriptor() as fd:
            worker = await cls._spawn()
            try:
                async with asyncio.timeout(_START_SECONDS):
                    await worker._send(msgspec.json.encode(setup) + b"\n", fd)
                    answer = await worker._receive()
                worker.ready = _read_ready(answer)
                worker.rules = compiled
                compiled.seal()
            except BaseException as err:
                worker.discard()
                await worker.ended()
                if isinstance(err, TimeoutError):
                    raise ScannerUnavailable(f"a YARA worker did not get ready in {_START_SECONDS:g} s") from err
                raise
        return worker

    @classmethod
    async def _spawn(cls) -> Self:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        errors_fd = os.memfd_create("yara-worker-errors")
        try:
            # -P: a file of the working directory is never taken for a module. A session of its own: Ctrl-C in a
            # terminal is for the server, which lets scans come to their end.
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", _MODULE),
                stdin=theirs.fileno(),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors_fd,
                cwd="/",
                env=_environment(),
                start_new_session=True,
            )
        except BaseException as err:
            ours.close()
            os.close(errors_fd)
            if isinstance(err, OSError):
                raise ScannerUnavailable(f"no YARA worker could be started: {err}") from err
            raise
        finally:
            theirs.close()
        return cls(process, ours, errors_fd)

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.returncode is not None

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Return whether the process, which has nothing to do now, is still there."""
        try:
            self._channel.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # it has closed the socket, or says something that nobody asked for

    async def scan(self, fd: int, size_bytes: int) -> Scanned:
        """Have an open file scanned. After an error, or when cancelled, this worker is to be killed.

        Raises:
            ScannerUnavailable: the process died.
            ScannerProtocolError: it answered something else.
        """
        request = msgspec.json.encode({"size_bytes": size_bytes}) + b"\n"
        try:
            socket.send_fds(self._channel, [request], [fd])
        except OSError as err:
            raise ScannerUnavailable(await self._last_words()) from err
        answer = await self._receive()
        try:
            return msgspec.json.decode(answer, type=Scanned)
        except msgspec.DecodeError as err:
            raise _not_understood(answer) from err

    def kill(self) -> None:
        """End the process at once, whatever it is doing. A `scan` that waits for it ends with an error."""
        if self._process.returncode is None:
            self._process.kill()

    def discard(self) -> None:
        """End the process and let go of everything; nobody may be waiting for a `scan`."""
        self.kill()
        if self._channel.fileno() != -1:
            self._channel.close()
            os.close(self._errors_fd)

    async def ended(self) -> bool:
        """Wait a little for the end of the process; return whether it has come."""
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._process.wait()
        except TimeoutError:
            return False
        return True

    async def _send(self, data: bytes, fd: int) -> None:
        try:
            sent = socket.send_fds(self._channel, [data], [fd])
            await asyncio.get_running_loop().sock_sendall(self._channel, data[sent:])
        except OSError as err:
            raise ScannerUnavailable(await self._last_words()) from err

    async def _receive(self) -> bytes:
        loop = asyncio.get_running_loop()
        data = b""
        while not data.endswith(b"\n"):
            try:
                more = await loop.sock_recv(self._channel, 65536)
            except OSError as err:
                raise ScannerUnavailable(await self._last_words()) from err
            if not more:
                raise ScannerUnavailable(await self._last_words())
            data += more
            if len(data) > _LONGEST_MESSAGE_BYTES:
                raise _not_understood(data)
        return data

    async def _last_words(self) -> str:
        """Say how the process ended, and what it wrote before."""
        await self.ended()
        code = self._process.returncode
        how = "" if code is None else f" by {signal.Signals(-code).name}" if code < 0 else f" with status {code}"
        written = os.pread(self._errors_fd, 64 * 1024, 0).decode(errors="replace").strip()
        last = written.rpartition("\n")[2]
        return f"the YARA worker ended{how} while it was needed{': ' if last else ''}{last}"


def _environment() -> dict[str, str]:
    # It needs none of what the server knows, which may be secret: only how to find the same modules.
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if os.path.isabs(entry))}


def _read_ready(answer: bytes) -> Ready:
    try:
        message = msgspec.json.decode(answer, type=dict[str, object])
        if "invalid_rules" in message:
            raise RulesInvalid(f"{msgspec.convert(message, _NotReady).invalid_rules}. Correct it, or leave it out.")
        return msgspec.convert(message, Ready)
    except (msgspec.DecodeError, msgspec.ValidationError) as err:
        raise _not_understood(answer) from err


def _not_understood(answer: bytes) -> ScannerProtocolError:
    return ScannerProtocolError(f"a YARA worker answered {answer[:200]!r}, which is not an answer that we know")
