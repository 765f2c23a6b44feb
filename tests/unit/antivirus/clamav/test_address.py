"""Addresses of clamd."""

from __future__ import annotations

import pytest

from penstock.antivirus.clamav.address import Address, TcpAddress, UnixAddress, parse_address
from penstock.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("/run/clamav/clamd.ctl", UnixAddress("/run/clamav/clamd.ctl"), "unix:///run/clamav/clamd.ctl"),
        ("unix:///run/clamd.ctl", UnixAddress("/run/clamd.ctl"), "unix:///run/clamd.ctl"),
        ("tcp://127.0.0.1:3310", TcpAddress("127.0.0.1", 3310), "tcp://127.0.0.1:3310"),
        ("tcp://clamav:3310", TcpAddress("clamav", 3310), "tcp://clamav:3310"),
        ("tcp://[::1]:3310", TcpAddress("::1", 3310), "tcp://[::1]:3310"),
    ],
)
def test_addresses(text: str, address: Address, shown: str) -> None:
    assert parse_address(text) == address
    assert str(address) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "clamd.ctl",
        "localhost:3310",
        "unix://",
        "tcp://",
        "tcp://localhost",
        "tcp://:3310",
        "tcp://localhost:port",
        "tcp://localhost:99999",
        "tcp://user@localhost:3310",
        "tcp://localhost:3310/scan",
        "tcp://[::1:3310",
        "http://localhost:3310",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        parse_address(text)
    assert repr(text) in str(error.value)
