"""Chooses the delivery by the scheme of the address in the start event."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .base import Delivery, DeliveryRefused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager

    from ..events.types import StartPostprocessingStep
    from .base import Delivered


class ByScheme(Delivery):
    """Hands each start event to the delivery that knows the scheme of its address."""

    def __init__(self, deliveries: Mapping[str, Delivery]) -> None:
        """`deliveries` by the scheme in lower case, such as `https`."""
        self._deliveries = deliveries

    def deliver(self, start: StartPostprocessingStep) -> AbstractAsyncContextManager[Delivered]:
        """Open the bytes with the delivery of that scheme.

        Raises:
            DeliveryRefused: there is none.
        """
        try:
            scheme = urlsplit(start.url).scheme
        except ValueError:
            scheme = ""
        delivery = self._deliveries.get(scheme)
        if delivery is None:
            known = ", ".join(sorted(self._deliveries))
            raise DeliveryRefused(f"the bytes are at an address of the scheme {scheme!r}; this step can get at {known}")
        return delivery.deliver(start)
