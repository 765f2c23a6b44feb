"""How the ICAP server has to prove who it is, as the settings say it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from penstock.antivirus.base import ScannerUnavailable
from penstock.antivirus.eicar import eicar
from penstock.app.scanner import one_scanner_of
from penstock.clock import SystemClock
from penstock.errors import ConfigurationError
from penstock.settings import load_settings
from tests.servers.fake_icap import CLEAN, INFECTED, Peer, running_fake
from tests.servers.nats import Certificate

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.antivirus.icap import IcapScanner


async def scanning(peer: Peer) -> None:
    request = await peer.request()
    await peer.say(INFECTED if eicar() in request.data else CLEAN)


def scanner(folder: Path, url: str, **environment: str) -> IcapScanner:
    told = {"ANTIVIRUS_ICAP_URL": url, **environment}
    chosen: IcapScanner = one_scanner_of("icap", load_settings(environ=told, folder=folder), SystemClock())
    return chosen


async def test_a_server_is_trusted_by_its_certificate_or_not_at_all(tmp_path: Path) -> None:
    certificate = Certificate.make(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate.certificate, certificate.key)
    root = {"PENSTOCK_ANTIVIRUS_ICAP_TLS_ROOT_CA_CERTIFICATE": str(certificate.certificate)}
    insecure = {"PENSTOCK_ANTIVIRUS_ICAP_TLS_INSECURE": "true"}
    async with running_fake(scanning, tls=tls) as fake:
        for trusting in (root, insecure):
            async with scanner(tmp_path, fake.url, **trusting) as client:
                await client.self_test()
        for url, trusting in ((fake.url, {}), (fake.url.replace("127.0.0.1", "localhost"), root)):
            async with scanner(tmp_path, url, **trusting) as client:
                with pytest.raises(ScannerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
                    await client.self_test()
        async with scanner(tmp_path, fake.url.replace("icaps", "icap"), **root) as client:
            with pytest.raises(ScannerUnavailable):
                await client.self_test()


def test_a_file_that_holds_no_certificates_is_named(tmp_path: Path) -> None:
    file = tmp_path / "root.pem"
    file.write_text("nothing\n")
    with pytest.raises(ConfigurationError, match=r"root\.pem.*no certificates"):
        scanner(tmp_path, "icaps://localhost/x", PENSTOCK_ANTIVIRUS_ICAP_TLS_ROOT_CA_CERTIFICATE=str(file))
