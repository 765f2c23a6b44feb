"""What runs until it is told to end: a service with its way in."""

from .embed import check_free
from .serve import run

__all__ = ["check_free", "run"]
