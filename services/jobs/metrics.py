"""Prometheus metrics of the workers."""

from prometheus_client import Counter, Gauge, Histogram

UNITS = Counter("auricle_jobs_units_total", "Units of work by how they ended.", ["step", "outcome"])
UNIT_SECONDS = Histogram(
    "auricle_jobs_unit_seconds",
    "Time of a unit of work.",
    ["step"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
IN_FLIGHT = Gauge("auricle_jobs_units_in_flight", "Units being worked on now.", ["step"])
RESENT = Counter("auricle_jobs_units_resent_total", "Units announced again because nobody finished them in time.")
EXPIRED = Counter("auricle_jobs_expired_total", "Jobs removed because their time was over.")
WEBHOOKS = Counter("auricle_jobs_webhooks_total", "Tries to tell a webhook, by how they ended.", ["outcome"])
