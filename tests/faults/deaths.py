"""Processes that are killed: at a write of theirs, or at a random time."""

import time

import httpx

from tests.faults.round import API, WORKER, Round, with_parent
from tests.faults.rule import AFTER, BEFORE, Phase, Rule

Boundary = tuple[str, str, str, Phase]
"""Who writes, method, kind of object, phase."""
STOP_SECONDS = 30


def at_boundary(round: Round, boundary: Boundary) -> None:
    """kill -9 of whoever writes, before the store hears of it or before anybody hears of it."""
    who, method, kind, phase = boundary
    if "datasets/" in kind or "/preparation/" in kind:
        forget_data_sets(round)
    rule = Rule("kill", phase, method, _escaped(kind), who)
    round.through(rule)
    round.workers_killed = len(rule.hits) if who == WORKER else 0
    for dead in rule.hits:
        round.check_takeover(dead)


def worker_child(round: Round) -> None:
    kind = round.random.choice(("blobs/.*", "measurements/.*", "segments/.*"))
    rule = round.worker_rule("kill", round.any_phase(), kind=kind, nth=round.random.randint(1, 4))
    round.through(rule)
    round.workers_killed = len(rule.hits)
    for dead in rule.hits:
        round.check_takeover(dead)


def worker_child_again(round: Round) -> None:
    """Its successor too, between a message and the lease: a fresh one imports torch first."""
    _kill_children(round)
    round.sweep().submit()
    time.sleep(round.random.uniform(0.2, 1))
    _kill_children(round)


def _kill_children(round: Round) -> None:
    """And wait until others are there in their places."""
    dead = set(round.site.children)
    for pid in dead:
        round.kill_worker(pid)
    until(lambda: len(set(round.site.children) - dead) >= len(dead))


def worker_parent(round: Round) -> None:
    rule = round.worker_rule("freeze", AFTER, kind="segments/.*", nth=round.random.randint(1, 6))
    sweep = round.sweep()
    with round.site.store.holding(rule):
        sweep.submit()
        dead = round.await_hit(rule)
        round.kill_worker(with_parent(dead.pid or 0)[0])
        round.await_end(sweep)
    round.check_takeover(dead)


def api(round: Round) -> None:
    round.begun()
    round.site.kill(round.site.local.pids["api"])
    round.injected += 1
    round.workers_killed = 0


def redis(round: Round) -> None:
    round.begun()
    round.site.kill(round.site.local.pids["redis"])
    round.injected += 1


def store(round: Round) -> None:
    round.begun()
    round.site.kill(round.site.local.pids["store"])
    round.injected += 1


def all_at_once(round: Round) -> None:
    """As when the machine goes down."""
    round.begun()
    for pid in round.site.local.pids.values():
        round.site.kill(pid)
    round.injected += 1
    round.workers_killed = len(round.site.parents)


def planned_stop(round: Round) -> None:
    """SIGTERM in mid-segment: the worker is gone within its grace, and no more than the epoch
    that it was at is trained again."""
    sweep = round.long_sweep()
    rule = round.worker_rule("pass", AFTER, method="PUT", kind="segments/.*/attempts/.*")
    with round.site.store.holding(rule):
        sweep.submit()
        parent = with_parent(round.await_hit(rule).pid or 0)[0]
        sweep.await_epochs(round.random.randint(1, 3))
    (child,) = [p for p in round.site.local._posts.values() if p.child.pid == parent]
    stopped = child.child
    stopped.ask_to_stop()
    round.injected += 1
    if not until(lambda: stopped.exit_code is not None, STOP_SECONDS):
        round.complaints.append(f"late: a stopped worker is there after {STOP_SECONDS} s")
    round.await_end(sweep)
    epochs = (sweep.status() or {"progress": {"epochs": {}}})["progress"]["epochs"]
    if epochs and epochs["trained"] > epochs["planned"] + 1:
        round.complaints.append(f"lost: a planned stop lost more than an epoch: {epochs}")


def replica(round: Round) -> None:
    """The API that took a request dies in its midst; the client asks the other, with its key."""
    child, url = round.site.replica()
    kind = round.random.choice(("experiments/.*", "index/.*", "active/.*", "idempotency/.*"))
    sweep = round.sweep()
    sweep.body["tags"] = {"key": sweep.key}
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as other:
        until(lambda: is_ready(other), 60)
        rule = Rule("kill", round.any_phase(), "PUT", kind, API)
        with round.site.store.holding(rule):
            sweep._ask("POST", "", json=sweep.body, headers={"Idempotency-Key": sweep.key})
            round.injected += len(rule.hits)
        sweep.http = other
        sweep.submit()
        round.await_end(sweep)
        sweep.http = round.site.http
    child.kill()
    round.workers_killed = 0
    found = sweep._get("/v1/experiments", params={"tag": f"key:{sweep.key}"})["experiments"]
    if len(found) != 1:
        round.complaints.append(f"wrong: one key made {len(found)} experiments")


def boundaries(round: Round) -> list[Boundary]:
    """All durable writes of an undisturbed sweep, that of its data set included."""
    forget_data_sets(round)
    before = len(round.site.store.calls)
    round.through()
    made = [call for call in list(round.site.store.calls)[before:] if call.is_write]
    roles = {call: API if call.who == API else WORKER for call in made}
    writes = sorted({(roles[call], call.method, call.kind) for call in made})
    return [(*write, phase) for write in writes for phase in (BEFORE, AFTER)]


def forget_data_sets(round: Round) -> None:
    """As in a deployment that has not prepared any."""
    store = round.site.direct_store()
    for name in list(store.names("datasets/")):
        store.remove(name)


def _escaped(kind: str) -> str:
    return kind.replace(".", r"\.").replace("*", ".*")


def is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def until(holds, seconds: float = 30) -> bool:
    """Whether it came to hold."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds()
