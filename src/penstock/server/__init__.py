"""What runs until it is told to end: a service with its way in."""

from .embed import check_free
from .serve import run
from .single import run_single

__all__ = ["check_free", "run", "run_single"]
