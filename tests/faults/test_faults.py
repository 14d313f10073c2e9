"""Each kind of fault once, in the real thing, and nothing is lost and nothing wrong.

The long version is `make faults`. What it does at production values, and at every write, is not
repeated here: a fault takes seconds.
"""

from pathlib import Path

import pytest

from tests.faults import disks
from tests.faults.deaths import at_boundary
from tests.faults.kinds import BOUNDARY, KINDS, ON_SMALL_DISKS
from tests.faults.play import Play
from tests.faults.reference import References
from tests.faults.rule import AFTER, BEFORE
from tests.faults.site import Site
from tests.faults.table import Table

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

OUTAGE_SECONDS = 3.0
SEED = 5
SHORT = (
    "worker child killed", "API killed", "Redis killed", "store killed", "Redis emptied",
    "Redis away", "store answers 500", "worker paused beyond its lease",
    "bit flipped in an answer", "bit flipped in a record", "bit flipped in the store",
    "answer cut off", "upload cut off", "answer lost", "error after writing",
)  # fmt: skip
"""Those that cost little, and that no test beside the service's code injects already."""
WRITES = (
    ("api", "PUT", "experiments/*/plan.json", BEFORE),
    ("api", "PUT", "experiments/*/outcome.json", AFTER),
    (r"worker-\d+", "PUT", "segments/*/manifest.json", BEFORE),
)


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    return References(tmp_path_factory.mktemp("reference"), 3)


@pytest.fixture(scope="module")
def play(tmp_path_factory, references):
    with Site(tmp_path_factory.mktemp("faults")) as site:
        made = Play(site, references, Table(), SEED, OUTAGE_SECONDS, print)
        yield made
        print(made.table)


@pytest.mark.parametrize("kind", SHORT)
def test_after_a_fault_nothing_is_lost_and_nothing_wrong(play, kind):
    assert play(kind, KINDS[kind]) == []
    assert play.table.lines[kind].injected > 0


@pytest.mark.parametrize("write", WRITES, ids=lambda write: f"{write[2]} {write[3]}")
def test_whoever_is_killed_at_a_write_leaves_nothing_half_done(play, write):
    assert play(BOUNDARY, lambda round: at_boundary(round, write), " ".join(write)) == []
    assert play.table.lines[BOUNDARY].missed == 0


def test_what_has_ended_is_the_same_after_a_restart(play):
    play.site.restart()
    assert play.ended, "run with the tests above: this one looks at what they have left"
    assert play.look_again() == []


def test_a_full_disk_delays_work_and_loses_none(tmp_path: Path, references):
    if not disks.can_mount(tmp_path):
        assert not disks.must_be_filled(), disks.CANNOT_MOUNT
        pytest.skip(disks.CANNOT_MOUNT)
    with disks.small(tmp_path) as env, Site(tmp_path, env=env) as site:
        play = Play(site, references, Table(), SEED, OUTAGE_SECONDS, print)
        for name, kind in ON_SMALL_DISKS.items():
            assert play(name, kind) == []
            assert play.table.lines[name].injected > 0
