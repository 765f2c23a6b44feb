"""Penstock receives files of any size, holds each one back until it is checked and processed, and then releases it.

What is here is the kit for steps of one's own (docs/guide/writing-steps.md)::

    from penstock import Outcome, StepUpload, step
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0.dev0"

__all__ = ["Outcome", "StepResult", "StepUpload", "__version__", "step"]

if TYPE_CHECKING:
    from .steps.kit import Outcome, StepResult, StepUpload, step


def __getattr__(name: str) -> object:
    """Import the kit when it is asked for, so that `penstock --version` does not wait for it."""
    if name in __all__:
        from .steps import kit

        return getattr(kit, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
