"""Traces: who did what for an upload, and how long it took, told in the trace that the upload's request began.

One object per service, handed to whoever works: `Untraced`, or `otlp.OtlpTracing` where traces are sent.
"""

from .base import UNTRACED, Span, Tracing, Untraced

__all__ = ["UNTRACED", "Span", "Tracing", "Untraced"]
