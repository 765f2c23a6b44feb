"""Puts the parts together: for `penstock serve` (`App`), and for each service that runs by itself."""

from .antivirus import AntivirusService
from .desk import open_requests, open_set_aside
from .parts import Parts
from .policy import check_handlers, policy_of, step_rules_of
from .postprocessing import PostprocessingService
from .scanner import one_scanner_of, scanner_of
from .serve import App
from .steps import StepService
from .takeover import Found, open_takeover
from .watch import check_set_aside

__all__ = [
    "AntivirusService",
    "App",
    "Found",
    "Parts",
    "PostprocessingService",
    "StepService",
    "check_handlers",
    "check_set_aside",
    "one_scanner_of",
    "open_requests",
    "open_set_aside",
    "open_takeover",
    "policy_of",
    "scanner_of",
    "step_rules_of",
]
