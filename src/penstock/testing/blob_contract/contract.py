"""All that every store must do."""

from __future__ import annotations

from .ending import Ending
from .growing import Growing
from .reading import Reading


class BlobContract(Growing, Ending, Reading):
    """The tests. Each one works with uploads of its own, so stores may be shared."""
