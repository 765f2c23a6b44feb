"""Asking an ICAP service what it can do."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ..base import ScannerUnavailable
from ..deadline import give_up_after
from .answers import AnswerReader
from .connection import connect
from .kept import some_of
from .protocol import Method, Options, options_of, options_request

if TYPE_CHECKING:
    import ssl

    from .address import Address

_SHORT_ANSWER: Final = timedelta(seconds=30)


async def ask_options(address: Address, tls: ssl.SSLContext | None, method: Method | None) -> Options:
    """Ask on a connection of its own; `method` is the one that is wanted, None: any.

    Raises:
        ScannerUnavailable: there is no such service, it fails, or it does not know the method.
        ScannerProtocolError: the answer was not understood.
        ScanTimeout: no answer in time.
    """
    what = f"the ICAP service {address} to tell what it can do"
    async with give_up_after(_SHORT_ANSWER, what):
        connection = await connect(address, tls)
        try:
            with suppress(ScannerUnavailable):  # what it said before it broke off is to be heard
                await connection.send(options_request(address))
            reader = AnswerReader()
            while (answer := reader.feed(await some_of(connection, what))) is None:
                pass
        finally:
            connection.close()
    if answer.icap.status == 404:
        raise ScannerUnavailable(
            f"the ICAP server has no service {address}. Look at the setting antivirus_icap_service."
        )
    if answer.icap.status >= 400:
        raise ScannerUnavailable(f"the ICAP service {address} answered {answer.icap.status}")
    options = options_of(answer)
    if method is not None and method not in options.methods:
        raise ScannerUnavailable(
            f"the ICAP service {address} knows {', '.join(sorted(options.methods))}, not {method}. "
            "Look at the setting antivirus_icap_method."
        )
    return options
