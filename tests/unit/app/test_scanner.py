"""Which scanners the settings make."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from zipfile import ZipFile

import pytest

from penstock.antivirus import LocalFile, ScannerUnavailable, Verdict
from penstock.antivirus.eicar import eicar
from penstock.app.scanner import open_virusscan, scanner_of
from penstock.cli.scanners import examine
from penstock.clock import SystemClock
from penstock.events.types import Outcome
from penstock.settings import Settings, load_settings
from penstock.settings.services import Service
from penstock.steps.kit import StepUpload
from penstock.steps.virusscan import ScannerNotReady
from penstock.telemetry import Metrics
from penstock.testing import ManualClock, eventually
from tests.servers.clamd import LIMIT_BYTES, running_clamd

CIRCUIT = "penstock_scanner_circuit"


def settings_of(folder: Path, **environ: str) -> Settings:
    return load_settings(environ=environ, folder=folder, service=Service.SERVE)


@pytest.mark.parametrize("agreement", ["all", "any"])
async def test_two_scanners_look_at_each_file(tmp_path: Path, agreement: str) -> None:
    (tmp_path / "rules.yar").write_text('rule Letters { strings: $a = "letters" condition: $a }')
    (tmp_path / "virus").write_bytes(eicar())
    (tmp_path / "letter").write_bytes(b"letters")
    (tmp_path / "clean").write_bytes(b"numbers")
    with running_clamd(tmp_path) as clamd:
        settings = settings_of(
            tmp_path,
            ANTIVIRUS_SCANNER_TYPE="clamav, yara",
            ANTIVIRUS_CLAMAV_SOCKET=clamd.unix_address,
            PENSTOCK_ANTIVIRUS_SCANNER_AGREEMENT=agreement,
            PENSTOCK_ANTIVIRUS_CLAMAV_MAX_FILE_SIZE=str(LIMIT_BYTES),
            PENSTOCK_ANTIVIRUS_CLAMAV_STREAM_MAX_LENGTH=str(LIMIT_BYTES),
            PENSTOCK_ANTIVIRUS_YARA_RULES="rules.yar",
        )
        async with scanner_of(settings, SystemClock()) as scanner:
            await scanner.self_test()
            virus = await scanner.scan(LocalFile(tmp_path / "virus"), size_bytes=68)
            letter = await scanner.scan(LocalFile(tmp_path / "letter"), size_bytes=7)
            clean = await scanner.scan(LocalFile(tmp_path / "clean"), size_bytes=7)
            version = await scanner.version()
    assert virus.verdict is Verdict.INFECTED
    assert (letter.verdict, letter.scanner, letter.signature) == (Verdict.INFECTED, "yara", "Letters")
    assert (clean.verdict, clean.scanner) == (Verdict.CLEAN, "clamav+yara")
    assert version.engine.startswith("ClamAV ")
    assert "yara-x" in version.engine


async def test_rules_that_cannot_be_used_are_to_be_seen(tmp_path: Path) -> None:
    (tmp_path / "rules.yar").write_text("rule Good { condition: false }")
    clock, metrics = ManualClock(), Metrics()

    def outdated() -> float | None:
        scanning.look_up(metrics)
        return metrics.registry.get_sample_value("penstock_scanner_rules_outdated", {"scanner": "yara"})

    async def refused() -> bool:
        await clock.advance(timedelta(seconds=5))
        return outdated() == 1

    async with AsyncExitStack() as stack:
        settings = settings_of(tmp_path, PENSTOCK_ANTIVIRUS_YARA_RULES="rules.yar")
        scanning = await open_virusscan(stack, settings, clock)
        assert [(check.name, check.ok) for check in scanning.checks()] == [("scanner", True)]
        assert outdated() == 0
        (tmp_path / "rules.yar").write_text("rule Bad {")
        await eventually(refused)
        ready, rules = scanning.checks()
        assert (ready.ok, rules.ok, rules.gates) == (True, False, False)
        assert f"{tmp_path}/rules.yar:1" in rules.detail
        assert metrics.registry.get_sample_value("penstock_scanner_ready") == 1


async def test_a_scanner_that_goes_away_is_left_alone_and_that_is_to_be_seen(tmp_path: Path) -> None:
    clock, metrics = ManualClock(), Metrics()
    (tmp_path / "file").write_bytes(b"harmless")
    upload = StepUpload.from_file(tmp_path / "file")

    def circuit() -> list[str]:
        scanning.look_up(metrics)
        states = [(state, {"scanner": "clamav", "state": state}) for state in ("closed", "open", "probing")]
        return [name for name, labels in states if metrics.registry.get_sample_value(CIRCUIT, labels)]

    with running_clamd(tmp_path) as clamd:
        settings = settings_of(
            tmp_path,
            ANTIVIRUS_SCANNER_TYPE="clamav",
            ANTIVIRUS_CLAMAV_SOCKET=clamd.unix_address,
            PENSTOCK_ANTIVIRUS_BREAKER_FAILURES="2",
            PENSTOCK_ANTIVIRUS_BREAKER_PAUSE="10s",
        )
        async with AsyncExitStack() as stack:
            scanning = await open_virusscan(stack, settings, clock)
            assert (await scanning.definition(upload)).outcome is Outcome.CONTINUE
            assert circuit() == ["closed"]
            clamd.kill()
            for _ in range(2):
                with pytest.raises(ScannerUnavailable, match="no connection to clamd"):
                    await scanning.definition(upload)
            with pytest.raises(ScannerNotReady, match="failed 2 times in a row"):
                await scanning.definition(upload)
            assert circuit() == ["open"]
            _, resting = scanning.checks()
            assert (resting.name, resting.ok) == ("scanner clamav", False)
            assert "2 in a row have failed. no connection to clamd" in resting.detail
            clamd.start_again()
            await clock.advance(timedelta(seconds=10))
            assert (await scanning.definition(upload)).outcome is Outcome.CONTINUE
            assert circuit() == ["closed"]
            assert [check.ok for check in scanning.checks()] == [True]


async def test_one_of_several_clamds_that_is_down_is_to_be_seen(tmp_path: Path) -> None:
    metrics = Metrics()
    (tmp_path / "file").write_bytes(b"harmless")
    upload = StepUpload.from_file(tmp_path / "file")
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with running_clamd(tmp_path / "one") as one, running_clamd(tmp_path / "other") as other:
        settings = settings_of(
            tmp_path,
            ANTIVIRUS_SCANNER_TYPE="clamav",
            ANTIVIRUS_CLAMAV_SOCKET=f"{one.unix_address},{other.tcp_address}",
        )

        def up(address: str) -> float | None:
            scanning.look_up(metrics)
            return metrics.registry.get_sample_value(
                "penstock_scanner_place_up", {"scanner": "clamav", "address": address}
            )

        async with AsyncExitStack() as stack:
            scanning = await open_virusscan(stack, settings, SystemClock())
            assert (up(one.unix_address), up(other.tcp_address)) == (1, 1)
            other.kill()
            for _ in range(2):
                assert (await scanning.definition(upload)).outcome is Outcome.CONTINUE
            assert (up(one.unix_address), up(other.tcp_address)) == (1, 0)
            scanner, down = scanning.checks()
            assert (scanner.ok, down.ok, down.gates, down.name) == (
                True,
                False,
                False,
                f"clamav at {other.tcp_address}",
            )
            assert "no connection to clamd" in down.detail
            other.start_again()
            await eventually(lambda: up(other.tcp_address) == 1, timeout_seconds=60)
            assert [check.ok for check in scanning.checks()] == [True]
            findings = {finding.scanner: finding.ok for finding in await examine(settings)}
            assert findings == {f"clamav {one.unix_address}": True, f"clamav {other.tcp_address}": True}
            other.kill()
            findings = {finding.scanner: finding.ok for finding in await examine(settings)}
            assert findings == {f"clamav {one.unix_address}": True, f"clamav {other.tcp_address}": False}


@pytest.mark.parametrize(("handling", "outcome"), [("", Outcome.ABORT), ("continue", Outcome.CONTINUE)])
async def test_what_clamd_cannot_look_into_is_handled_as_set(tmp_path: Path, handling: str, outcome: Outcome) -> None:
    path = tmp_path / "encrypted.zip"
    with ZipFile(path, "w") as archive:
        archive.writestr("secret", b"a secret")
    data = bytearray(path.read_bytes())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(header) + flags] |= 1  # says that it is encrypted
    path.write_bytes(data)
    with running_clamd(tmp_path, AlertEncrypted="yes") as clamd:
        settings = settings_of(
            tmp_path,
            ANTIVIRUS_SCANNER_TYPE="clamav",
            ANTIVIRUS_CLAMAV_SOCKET=clamd.unix_address,
            PENSTOCK_ANTIVIRUS_UNSCANNABLE_FILE_HANDLING=handling,
        )
        async with AsyncExitStack() as stack:
            scanning = await open_virusscan(stack, settings, SystemClock())
            answer = await scanning.definition(StepUpload.from_file(path))
    assert answer.outcome is outcome
    assert (answer.result.infected, answer.result.scan.end) == (False, "unscannable")
    assert "Heuristics.Encrypted.Zip" in answer.result.error_message
