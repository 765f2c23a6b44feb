"""Puts the parts together: for `penstock serve` (`App`), and for each service that runs by itself."""

from .antivirus import AntivirusService
from .desk import open_requests
from .parts import Parts
from .policy import check_handlers, policy_of, step_rules_of
from .postprocessing import PostprocessingService
from .scanner import scanner_of
from .serve import App
from .steps import StepService

__all__ = [
    "AntivirusService",
    "App",
    "Parts",
    "PostprocessingService",
    "StepService",
    "check_handlers",
    "open_requests",
    "policy_of",
    "scanner_of",
    "step_rules_of",
]
