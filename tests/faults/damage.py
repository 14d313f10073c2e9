"""What is stored and no longer as it was written."""

import time
from random import Random

from shared.storage import Storage
from tests.faults.round import Round
from tests.faults.rule import AFTER


def at_rest(round: Round) -> None:
    """One bit of an object of a sweep, soon after it was stored, and so before it was read much."""
    kinds = ("blobs/.*", "segments/.*/manifest.json", "measurements/.*")
    rule = round.worker_rule(
        "pass", AFTER, method="PUT", kind=round.random.choice(kinds), nth=round.random.randint(1, 5)
    )
    sweep = round.sweep()
    with round.site.store.holding(rule):
        sweep.submit()
        name = round.await_hit(rule).name
    store = round.site.direct_store()
    time.sleep(0.05)  # for the write that was answered to be read back
    flip(store, name, round.random)
    round.injected += 1


def flip(store: Storage, name: str, random: Random) -> None:
    """One bit of an object."""
    data = bytearray(store.read(name))
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    store.write(name, bytes(data))
