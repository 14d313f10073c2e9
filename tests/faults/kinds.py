"""Every kind of fault, by name."""

from collections.abc import Callable

from tests.faults import answers, clocks, damage, deaths, disks, outages
from tests.faults.round import Round

AT_REST = "bit flipped in the store"
KINDS: dict[str, Callable[[Round], None]] = {
    "worker child killed": deaths.worker_child,
    "worker child killed while starting": deaths.worker_child_again,
    "worker parent killed": deaths.worker_parent,
    "API killed": deaths.api,
    "API replica killed in a request": deaths.replica,
    "Redis killed": deaths.redis,
    "store killed": deaths.store,
    "everything killed": deaths.all_at_once,
    "worker asked to stop": deaths.planned_stop,
    "Redis emptied": outages.flushall,
    "Redis away": outages.redis_away,
    "Redis silent": outages.redis_silent,
    "store away": outages.store_away,
    "store answers 500": outages.store_500,
    "store answers 503": outages.store_503,
    "store slow": outages.store_slow,
    "store hangs": outages.store_hangs,
    "worker paused beyond its lease": outages.paused_worker,
    "messages delivered ten times": outages.delivered_ten_times,
    "preparation asked for ten times": outages.prepared_ten_times,
    "repairs asked for ten times": outages.repaired_ten_times,
    "bit flipped in an answer": answers.bit_flips,
    "bit flipped in a blob": answers.bit_flips_in_blobs,
    "bit flipped in a record": answers.bit_flips_in_records,
    "answer cut off": answers.cuts_in_answers,
    "upload cut off": answers.cuts_in_uploads,
    "answer lost": answers.lost_answers,
    "error after writing": answers.errors_after_writing,
    "single error": answers.single_errors,
    AT_REST: damage.at_rest,
    "clock an hour ahead": clocks.hour_ahead,
    "clock an hour behind": clocks.hour_behind,
}
ON_SMALL_DISKS: dict[str, Callable[[Round], None]] = {
    "disk full for the store": disks.full_for_the_store,
    "disk full for the workers": disks.full_for_the_workers,
}
"""These want a site whose store and workers write to small file systems of their own."""
AT_PRODUCTION_VALUES = (
    "worker child killed", "worker parent killed", "API killed", "Redis killed", "store killed",
    "Redis emptied", "Redis away", "Redis silent", "store away", "worker paused beyond its lease",
)  # fmt: skip
SEVERAL_A_ROUND = (
    "bit flipped in an answer", "bit flipped in a blob", "bit flipped in a record",
    "answer cut off", "upload cut off", "answer lost", "error after writing", "single error",
    "messages delivered ten times",
)  # fmt: skip
"""Kinds of which one sweep meets many."""
BOUNDARY = "killed at a write"
