"""What is counted and measured, under the names that `/metrics` shows.

One object per application, handed to whoever counts: there is no global registry, so two applications in one process
(as in tests) do not mix.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


class Metrics:
    """The metrics of one application. Values that are looked up when asked for are set by whoever has a `look_up`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.inputs = Counter(
            "penstock_inputs",
            "Events and timers that the coordinator handled, by kind and verdict.",
            ["kind", "verdict"],
            registry=self.registry,
        )
        self.outcomes = Counter(
            "penstock_outcomes", "Decisions about uploads, by outcome.", ["outcome"], registry=self.registry
        )
        self.step_outcomes = Counter(
            "penstock_step_outcomes",
            "Results of steps by outcome.",
            ["step", "outcome"],
            registry=self.registry,
        )
        self.retries = Counter(
            "penstock_retries", "Attempts that failed and will be repeated, by step.", ["step"], registry=self.registry
        )
        self.step_seconds = Histogram(
            "penstock_step_seconds",
            "Time from the start of a step's attempt to its result.",
            ["step"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.processing_seconds = Histogram(
            "penstock_processing_seconds",
            "Time from the last byte of an upload to the decision about it.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.received_bytes = Counter(
            "penstock_received_bytes", "Bytes of uploads that came in.", registry=self.registry
        )
        self.storage_failures = Counter(
            "penstock_storage_failures",
            "Bodies of uploads that the storage did not take to their end, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.in_step = Gauge("penstock_uploads_in_step", "Uploads in each step now.", ["step"], registry=self.registry)
        self.uploads = Gauge("penstock_uploads", "Uploads in each phase now.", ["phase"], registry=self.registry)
        self.quota_bytes = Gauge(
            "penstock_quota_bytes",
            "Bytes used and reserved, and their limit, of the server and of spaces and users with limits of their own.",
            ["kind", "name", "what"],
            registry=self.registry,
        )
        self.unfinished = Gauge(
            "penstock_unfinished_uploads",
            "Unfinished uploads of the server and of spaces and users with limits of their own.",
            ["kind", "name"],
            registry=self.registry,
        )
        self.queue_depth = Gauge(
            "penstock_queue_depth",
            "Events waiting or in work, by group.",
            ["group"],
            registry=self.registry,
        )
        self.event_failures = Counter(
            "penstock_event_failures",
            "Events that could not be handled and came again, by group.",
            ["group"],
            registry=self.registry,
        )
        self.set_aside = Counter(
            "penstock_events_set_aside",
            "Events that can never be handled and were set aside, by group.",
            ["group"],
            registry=self.registry,
        )
        self.oldest_seconds = Gauge(
            "penstock_oldest_processing_seconds", "Age of the longest-running postprocessing.", registry=self.registry
        )
        self.stalled = Gauge(
            "penstock_stalled_uploads", "Uploads that have waited too long for an answer.", registry=self.registry
        )
        self.garbage_found = Gauge(
            "penstock_garbage_found",
            "What the last garbage collection found and has left, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self.garbage_removed = Counter(
            "penstock_garbage_removed",
            "What garbage collections have removed or put right, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self.garbage_failed = Counter(
            "penstock_garbage_failed",
            "What garbage collections could not remove or put right, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self.garbage_freed_bytes = Counter(
            "penstock_garbage_freed_bytes",
            "Bytes that garbage collections have freed, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self.garbage_collected_at = Gauge(
            "penstock_garbage_collected_timestamp_seconds",
            "When the last garbage collection ended, in seconds since 1970.",
            registry=self.registry,
        )
        self.scanner_ready = Gauge(
            "penstock_scanner_ready",
            "1 while the virus scanner is used: it has passed its self-test.",
            registry=self.registry,
        )
        self.scanner_rules_outdated = Gauge(
            "penstock_scanner_rules_outdated",
            "1 while a scanner works with older rules because the present ones cannot be used.",
            ["scanner"],
            registry=self.registry,
        )
        self.scanner_circuit = Gauge(
            "penstock_scanner_circuit",
            "1 for the state of each scanner's circuit breaker: closed, open (it is not asked) or probing.",
            ["scanner", "state"],
            registry=self.registry,
        )
        self.scanner_failures = Gauge(
            "penstock_scanner_failures", "Failures in a row of each scanner.", ["scanner"], registry=self.registry
        )
        self.scanner_place_up = Gauge(
            "penstock_scanner_place_up",
            "1 while one of several engines that share a scanner's work is asked; 0 while it is left alone.",
            ["scanner", "address"],
            registry=self.registry,
        )
        self.viruses_found = Counter(
            "penstock_viruses_found", "Scans that found something, by scanner.", ["scanner"], registry=self.registry
        )
        self.alerts = Counter(
            "penstock_alerts",
            "Alerts to the administrator that were posted (`sent`) or given up (`failed`).",
            ["result"],
            registry=self.registry,
        )
