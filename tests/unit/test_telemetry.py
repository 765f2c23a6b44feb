"""What is counted, as Prometheus sees it."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from penstock.telemetry import Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_two_applications_in_one_process_do_not_mix() -> None:
    one, other = Metrics(), Metrics()
    one.received_bytes.inc(10)
    assert value(one, "penstock_received_bytes_total") == 10
    assert value(other, "penstock_received_bytes_total") == 0


def test_everything_has_our_prefix_and_is_explained() -> None:
    families = list(Metrics().registry.collect())
    assert len(families) > 10
    assert [family.name for family in families if not family.name.startswith("penstock_")] == []
    assert [family.name for family in families if not family.documentation.endswith(".")] == []


def test_what_is_shown_can_be_read_back() -> None:
    metrics = Metrics()
    metrics.step_outcomes.labels('odd "step"\\\n', "continue").inc()
    shown = generate_latest(metrics.registry).decode()
    samples = [sample for family in text_string_to_metric_families(shown) for sample in family.samples]
    (labels,) = [sample.labels for sample in samples if sample.name == "penstock_step_outcomes_total"]
    assert labels == {"step": 'odd "step"\\\n', "outcome": "continue"}


def test_durations_from_a_few_milliseconds_to_two_hours_can_be_told_apart() -> None:
    metrics = Metrics()
    for seconds in (0.004, 0.9, 7000, 100_000):
        metrics.processing_seconds.observe(seconds)
    counted = {le: value(metrics, "penstock_processing_seconds_bucket", le=le) for le in ("0.005", "1.0", "7200.0")}
    assert counted == {"0.005": 1, "1.0": 2, "7200.0": 3}
    assert value(metrics, "penstock_processing_seconds_count") == 4
