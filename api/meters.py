"""What the service counts for Prometheus, beside what `shared/meters.py` counts everywhere."""

from threading import Lock
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

from api import lifecycle
from shared import cost
from shared.plan import Plan

if TYPE_CHECKING:
    from shared.live import Live

REQUESTS = Histogram(
    "hubel_http_request_duration_seconds",
    "Requests, until the head of the answer is sent",
    ["method", "route", "status"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
IN_FLIGHT = Gauge("hubel_http_requests_in_flight", "Requests under way, streams included")

ACCEPTED = Counter("hubel_experiments_accepted", "Experiments accepted, measurement jobs included")
ENDED = Counter(
    "hubel_experiments_ended", "Experiments that this process saw to the end of", ["state"]
)
PLANNED_EPOCHS = Counter(
    "hubel_planned_epochs",
    "Epochs of accepted experiments, each run by itself: to be trained, or saved by sharing within"
    " the experiment, or found in the store",
    ["fate"],
)
PLANNED_SECONDS = Counter(
    "hubel_planned_device_seconds",
    "The same, as estimated seconds of the reference device",
    ["fate"],
)

EXPERIMENTS = Gauge("hubel_experiments", "Active experiments that were looked at", ["state"])
SEGMENTS = Gauge(
    "hubel_segments",
    "Pieces of work (segments, data sets to prepare, repairs) of active experiments that were"
    " looked at: waiting for another (of each experiment), queued (nobody holds it) and running"
    " (each once)",
    ["state"],
)
MESSAGES = Gauge("hubel_queue_messages", "Messages in Celery's list")

EXPIRIES = Counter(
    "hubel_lease_expiries", "Work whose worker fell silent before it said how it ended"
)
ACTIONS = Counter("hubel_reconcile_actions", "What the reconcile loop did", ["action"])
PASS = Histogram(
    "hubel_reconcile_pass_duration_seconds",
    "Passes of the reconcile loop, of the process that leads",
    buckets=(0.01, 0.05, 0.25, 1, 2.5, 10, 60),
)
LAST_PASS = Gauge(
    "hubel_reconcile_last_pass_timestamp_seconds", "End of the last one, by the clock"
)
LEADER = Gauge("hubel_reconcile_leader", "1 where this process leads")

WEBHOOK_TRIES = Counter("hubel_webhook_tries", "Messages sent to webhooks", ["result"])
MIRRORED = Counter("hubel_mirror_points", "Points that an MLflow server took")
MIRROR_FAILURES = Counter("hubel_mirror_failures", "Times that the mirror to MLflow had to wait")
MIRROR_OPEN = Gauge("hubel_mirror_experiments", "Experiments that are not wholly mirrored")

FATES = ("new", "sharing", "store")
ACTION_NAMES = (
    "queued", "requeued", "prepared", "planned", "set_aside", "finished", "repaired",
)  # fmt: skip
for _labelled, _values in (
    (PLANNED_EPOCHS, FATES),
    (PLANNED_SECONDS, FATES),
    (ACTIONS, ACTION_NAMES),
    (ENDED, lifecycle.ENDED),
    (WEBHOOK_TRIES, ("delivered", "failed")),
):
    for _value in _values:
        _labelled.labels(_value)  # a rate needs the zero before the first one

_showing = Lock()
"""Two may ask at once: neither is to see what the other has cleared and not yet set."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def answered(method: str, route: str | None, status: int, seconds: float) -> None:
    """Whatever clients invent, the series are as many as there are operations and answers."""
    known = method if method in METHODS else "other"
    REQUESTS.labels(known, route or "unmatched", str(status)).observe(seconds)


def planned(plan: Plan) -> None:
    """Of an experiment whose plan was made now."""
    epochs = plan.epochs
    amounts = (epochs.new, epochs.alone - epochs.shared, epochs.stored)
    for fate, number in zip(FATES, amounts, strict=True):
        PLANNED_EPOCHS.labels(fate).inc(number)
    an_epoch = [cost.device_seconds(config, 1) for config in plan.configs]
    each = [(s.end - s.start) * an_epoch[s.config] for s in plan.segments]
    alone = sum(each[i] for run in plan.runs for i in run.segments)
    stored = sum(s for s, one in zip(each, plan.segments, strict=True) if one.stored)
    for fate, amount in zip(FATES, (plan.device_seconds, alone - sum(each), stored), strict=True):
        PLANNED_SECONDS.labels(fate).inc(max(0.0, amount))


def exposition(live: "Live", accept: str) -> tuple[bytes, str]:
    """All of it, and its content type. Asks Redis twice and the store nothing."""
    backlog, messages = live.backlog(), live.queue_length()
    encode, content_type = choose_encoder(accept)
    with _showing:
        _show(SEGMENTS, "segments", backlog)
        _show(EXPERIMENTS, "experiments", backlog)
        MESSAGES.set(float("nan") if messages is None else messages)
        return encode(REGISTRY), content_type


def _show(gauge: Gauge, part: str, backlog: dict[str, Any] | None) -> None:
    """Nothing where nobody knows: a zero would have workers stopped."""
    gauge.clear()
    for state, count in (backlog or {}).get(part, {}).items():
        gauge.labels(state).set(count)
