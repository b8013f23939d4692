"""What a hub counts, from the registry."""

from reference.text import code, sheet, table
from tabellion.core.telemetry import Metrics

INTRODUCTION = "Served at `/metrics` in Prometheus' text format; off loopback a key with `metrics:read` is needed."


def page() -> str:
    """Every metric with its labels' names."""
    counted = sorted(
        (metric for metric in Metrics(process=False).registry._collector_to_names),
        key=lambda one: one._name,  # type: ignore[attr-defined]
    )
    rows = [
        [code(one._name), one._type, ", ".join(code(label) for label in one._labelnames), one._documentation]  # type: ignore[attr-defined]
        for one in counted
    ]
    return sheet("Metrics", INTRODUCTION, table(["name", "kind", "labels", "what"], rows))
