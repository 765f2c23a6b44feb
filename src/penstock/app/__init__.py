"""Puts the parts together: for `penstock serve` (`App`), and for each service that runs by itself."""

from .parts import Parts
from .policy import check_handlers, policy_of
from .scanner import scanner_of
from .serve import App

__all__ = ["App", "Parts", "check_handlers", "policy_of", "scanner_of"]
