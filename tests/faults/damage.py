"""What is stored and no longer as it was written."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from random import Random

import httpx

from shared.storage import Storage
from tests.faults.deaths import forget_data_sets, is_ready, until
from tests.faults.round import Round
from tests.faults.rule import AFTER, Rule
from tests.faults.sweep import Sweep

TRAINED = ("blobs/.*", "segments/.*/manifest.json", "segments/.*/within.json", "measurements/.*")
ACCEPTED = (
    "experiments/.*/spec.json", "experiments/.*/plan.json", "experiments/.*/outcome.json",
    "copies/experiments/.*/spec.json", "copies/experiments/.*/plan.json",
    "copies/experiments/.*/outcome.json", "idempotency/.*", "copies/idempotency/.*",
)  # fmt: skip
ARRAYS = r"datasets/.*\.npy"
DATA = (r"datasets/[^/]*\.json", "datasets/by-digest/.*/manifest.json", ARRAYS)
OBJECTS = (*TRAINED, *ACCEPTED, *DATA)
"""All that an experiment has or needs, but markers and entries of the list: they are empty."""
ANSWERED_SECONDS = 60
"""Within which what was damaged is whole again."""


def at_rest(round: Round, kind: str | None = None) -> None:
    """One bit of an object of a sweep, soon after it was stored, and so before it was read much;
    then everything is asked of a process that has read nothing yet."""
    kind = kind or round.random.choice(OBJECTS)
    if kind in DATA:
        _forget_data(round)
    nth = round.random.randint(1, 4) if kind in (*TRAINED, ARRAYS) else 1
    rule = Rule("pass", AFTER, method="PUT", kind=kind, nth=nth)
    sweep = round.sweep()
    with round.site.store.holding(rule):
        sweep.submit()
        name = round.await_hit(rule).name
    time.sleep(0.05)  # for the write that was answered to be read back
    flip(round.site.direct_store(), name, round.random)
    round.injected += 1
    round.await_end(sweep)
    if kind in DATA:
        _forget_copies(round)
    with _another_api(round) as other:
        _ask_elsewhere(round, sweep, other)


def _forget_data(round: Round) -> None:
    forget_data_sets(round)
    _forget_copies(round)


def _forget_copies(round: Round) -> None:
    """What workers keep of data sets, on disk and in memory: others read the store."""
    shutil.rmtree(round.site.scratch / "hubel-datasets", ignore_errors=True)
    for pid in round.site.children:
        round.site.kill(pid)


def flip(store: Storage, name: str, random: Random) -> None:
    """One bit of an object."""
    data = bytearray(store.read(name))
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    store.write(name, bytes(data))


@contextlib.contextmanager
def _another_api(round: Round) -> Iterator[httpx.Client]:
    child, url = round.site.replica()
    try:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
            until(lambda: is_ready(http), 60)
            yield http
    finally:
        child.kill()
        round.site.extra.remove(child)


def _ask_elsewhere(round: Round, sweep: Sweep, other: httpx.Client) -> None:
    """The same key, the same numbers, its place in the list, and a sweep of the same data."""
    again = Sweep(other, sweep.seed)
    again.body, again.key = sweep.body, sweep.key
    again.submit(ANSWERED_SECONDS)
    if again.id != sweep.id:
        round.complaints.append(f"wrong: one key made {sweep.id} and {again.id}")
    again.status()
    again.compare(round.references.of(sweep))
    round.complaints += again.complaints
    listed = again._get("/v1/experiments", ANSWERED_SECONDS, params={"page_size": 200})
    if sweep.id not in [one["id"] for one in listed["experiments"]]:
        round.complaints.append(f"lost: {sweep.id} is not listed")
    following = round.sweep()
    following.submit(ANSWERED_SECONDS)
    round.await_end(following)
