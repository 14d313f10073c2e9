"""Simulated workers: all that a worker does but training, many in one process.

A thread each, with the worker's own code for taking, trying, storing and waking (`worker.crew`,
`worker.segment`). In place of training: a pause. In place of a heartbeat's thread for each: one
that says the same to Redis for all of the process.
"""

import contextlib
import ctypes
import json
import logging
import os
import random
import signal
import threading
import time
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import Connection
from typing import Any, Self

import redis
import urllib3

from shared import names, urgency
from shared.chain import Manifest
from shared.errors import Stopped
from shared.live import _RENEW, Live
from shared.plan import Plan, Segment
from shared.queue import Sender, make_app
from shared.ready import QUEUE, WORK
from shared.records import Records
from shared.settings import Settings
from shared.storage import Storage
from worker import crew, heartbeat, tries
from worker.pulse import Pulse
from worker.segment import Performed, _missing, _Work

KEYS = [QUEUE, *(f"{QUEUE}\x06\x16{priority}" for priority in (3, 6, 9))]
"""Celery's list, by priorities, as kombu asks for it."""
POLL_SECONDS = 1
"""As kombu does: a blocking read is asked again after this."""
PLANS = 8
"""That a worker keeps."""
CONNECTIONS = 16
"""To the store, of one process: each request holds one."""
SIGMA = 0.3
"""Of the logarithm of a segment's time."""
AT_ONCE = 64
"""Heartbeats in one message to Redis."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Job:
    """What one process of workers is to do."""

    settings: dict[str, Any]
    name: str
    workers: int
    seconds: float
    """Mean of a segment's time."""
    log: str
    """File of what happened: one line an event."""
    checkpoint_bytes: int
    seed: int


class Log:
    """What happened, on the clock that all processes of a machine share. What was written stays
    when this process is killed."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def __call__(self, what: str, worker: str, work: str = "") -> None:
        os.write(self._file, f"{time.monotonic():.4f} {what} {worker} {work}\n".encode())


class Hearts:
    """What `worker.heartbeat` says to Redis and asks of the store, for all work of a process."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.beating: dict[str, Beat] = {}
        self.pool = ThreadPoolExecutor(4)
        threading.Thread(target=self._loop, name="hearts", daemon=True).start()

    def _loop(self) -> None:
        """Between two steps a worker looks once a second, and its thread every two."""
        for round in range(1 << 62):
            began = time.monotonic()
            beats = list(self.beating.values())
            if round % 2:
                beats += beats
            for first in range(0, len(beats), AT_ONCE):
                with contextlib.suppress(redis.RedisError):
                    self._renew(beats[first : first + AT_ONCE])
            for beat in beats:
                beat.ask_now_and_then()
            time.sleep(max(0.0, heartbeat.LOOK_SECONDS - (time.monotonic() - began)))

    def _renew(self, beats: list["Beat"]) -> None:
        with self.live._redis.pipeline(transaction=False) as pipe:
            for beat in beats:
                lease = f"hubel:lease:{beat.work}"
                pipe.eval(_RENEW, 1, lease, beat.owner, self.live.lease_ms)
                pipe.pexpire(f"hubel:live:{beat.work}", 2 * self.live.lease_ms)
                pipe.exists(f"hubel:cancel:{beat.experiment}")
            pipe.execute()


_hearts: list[Hearts] = []


class Beat:
    """In the place of `worker.heartbeat.Heartbeat`."""

    def __init__(
        self, live: Live, experiment: str, work: str, owner: str, limit: float,
        hung: Any, pulse: Pulse, ended: Callable[[], bool], *_: Any,
    ) -> None:  # fmt: skip
        self.experiment, self.work, self.owner, self._ended = experiment, work, owner, ended
        self._asked = time.monotonic()

    def __enter__(self) -> Self:
        _hearts[0].beating[self.owner] = self
        return self

    def __exit__(self, *_: object) -> None:
        _hearts[0].beating.pop(self.owner, None)

    def __call__(self) -> None:
        pass

    def ask_now_and_then(self) -> None:
        if time.monotonic() - self._asked >= heartbeat.ASK_SECONDS:
            self._asked = time.monotonic()
            _hearts[0].pool.submit(self._ended)


class Nothing:
    """In the place of the machine and of a worker's last words."""

    def device(self) -> str:
        return "cpu"

    def is_at_fault(self, error: Exception) -> bool:
        return False

    def rest(self, error: Exception | None) -> None:
        time.sleep(1)

    def tail(self) -> str:
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class AtOnce:
    """In the place of a thread that stores: a worker has one already."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self, tick: Callable[[], None]) -> bool:
        return True

    def begin(self, store: Callable[[], bool]) -> None:
        store()


class Shared:
    """What the workers of one process share, where a real one has its own."""

    def __init__(self, job: Job) -> None:
        self.job, self.settings = job, Settings(**job.settings)
        self.records, self.live = Records(Storage(self.settings)), Live(self.settings)
        self.sender = Sender(make_app(self.settings))
        self.log, self.pulse = Log(job.log), Pulse()
        self._plans: dict[str, Plan] = {}
        self.urgency = lru_cache(maxsize=None)(lambda id: urgency.remaining(self.parsed(id)))
        self.checkpoint = random.Random(job.seed).randbytes(job.checkpoint_bytes)
        self.over = threading.Event()

    def parsed(self, experiment: str) -> Plan:
        if experiment not in self._plans:
            self._plans[experiment] = self.records.plan(experiment)
        return self._plans[experiment]


class Untold(tries.Tries):
    def _introduce(self, place: str) -> None:
        """There is no device."""


class Crew(crew.Crew):
    """One worker."""

    def __init__(self, shared: Shared, index: int) -> None:
        self.shared, self.settings, self.live = shared, shared.settings, shared.live
        self.records, self.store, self.sender = shared.records, shared.records.store, shared.sender
        self.pulse, self.log = shared.pulse, shared.log
        self.supervisor = f"{shared.job.name}-{index}"
        self.name = f"{self.supervisor}:1"
        self.machine = self.words = Nothing()  # type: ignore[assignment]
        self.storing, self.at = AtOnce(), []  # type: ignore[assignment]
        own = (self.machine, self.pulse, self.words, self.supervisor, self.name)
        self.tries = Untold(self.settings, self.live, self.records, *own)
        self.random, self.is_first = random.Random(f"{shared.job.seed} {index}"), True
        self._kept: OrderedDict[str, None] = OrderedDict()
        self.urgency = shared.urgency
        self.plan = self._plan  # type: ignore[assignment, method-assign]

    def _plan(self, experiment: str) -> Plan:
        """Read as often as a worker does that keeps eight; understood once in a process."""
        if experiment not in self._kept:
            self.store.read(names.experiment_object(experiment, "plan.json"))
            self._kept[experiment] = None
            if len(self._kept) > PLANS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(experiment)
        return self.shared.parsed(experiment)

    def chosen(self, experiment: str, index: int, work: str) -> int:
        """What it does at a message: as its parent chooses."""
        return self.live.take_most_urgent(experiment, index, work, self.supervisor)[0]

    def tell(self, experiment: str | None) -> None:
        """That it is there; thousands say nothing."""

    def seconds(self) -> float:
        """Of a segment: log-normal, with the mean that was asked for. Of the first only what is
        left of it, as of workers that have been at work for long."""
        drawn = self.random.lognormvariate(-SIGMA * SIGMA / 2, SIGMA)
        left, self.is_first = self.random.random() if self.is_first else 1.0, False
        return self.shared.job.seconds * drawn * left

    def _perform(
        self, experiment: str, plan: Plan, segment: Segment, tick: Any, trainer: Any
    ) -> Performed:
        self.log("taken", self.name, tick.work)
        report = {"start": segment.start, "end": segment.end}
        self.live.report(tick.work, report | {"epoch": segment.start})
        simulated = Simulated(self, experiment, plan, segment, tick.work)
        is_there = simulated.execute(report)

        def store() -> bool:
            if not is_there:
                simulated.keep()
            self.log("done", self.name, tick.work)
            return True

        return Performed(True, store=store)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Where a worker's process would end, the simulation says so and goes on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            self.log("error", self.name, f"{type(error).__name__}:{error}".replace("\n", " "))


class Simulated(_Work):
    """A segment's work: what leads to it is read, then a pause, then it is stored."""

    def __init__(
        self, crew: Crew, experiment: str, plan: Plan, segment: Segment, work: str
    ) -> None:
        self.crew, self.experiment, self.plan, self.segment = crew, experiment, plan, segment
        self.records, self.store, self.work = crew.records, crew.store, work
        self.bench = self  # type: ignore[assignment]
        self.provenance = {
            "experiment": experiment, "worker": crew.name, "numerics": "none", "device": "none",
        }  # fmt: skip
        self.started = time.time()
        self.rows, self.times, self.unmeasured = [], [], set()

    def execute(self, report: dict[str, int]) -> bool:
        """Whether it was stored already."""
        segment = self.segment
        _missing(self, segment)  # type: ignore[arg-type]
        if self.records.manifest(segment.scope, segment.key) is not None:
            return True
        self._furthest([])
        if segment.start > 0:
            self._load_parent()
        seconds = self.crew.seconds() / (segment.end - segment.start)
        for epoch in range(segment.start + 1, segment.end + 1):
            if self.crew.shared.over.wait(seconds):
                raise Stopped("the step is over")
            self.live_epoch(report, epoch, seconds)
        return False

    def keep(self) -> None:
        self._store(self.segment.start, self.segment.end, self._checkpoint(), time.time())

    def live_epoch(self, report: dict[str, int], epoch: int, seconds: float) -> None:
        self.crew.live.count_epoch(self.experiment)
        said = report | {"epoch": epoch, "seconds_per_epoch": seconds}
        self.crew.live.report(self.work, said)
        row = {"train_loss": 1 / epoch, "test_loss": 1 / epoch, "test_accuracy": 0.5}
        self.rows.append({"epoch": epoch, "stimulus": [], **row})
        self.times.append(f"2026-01-01T00:00:{epoch % 60:02d}.000Z")

    def _load_parent(self) -> None:
        """As `worker.states` does: its metrics and its checkpoint have to verify."""
        segment = self.segment
        manifest = self.records.manifest(segment.scope, segment.parent)
        assert isinstance(manifest, Manifest), f"{segment.parent} is not stored"
        self.store.verifies(manifest.metrics)
        self.store.read_blob(manifest.checkpoint)

    def _checkpoint(self) -> bytes:
        return self.segment.key.encode() + self.crew.shared.checkpoint


def _receive(client: "redis.Redis[Any]", tag: str) -> tuple[str, int, str] | None:
    """The next message, as kombu takes one: it is noted as received, and acknowledged at once."""
    found = client.brpop(KEYS, timeout=POLL_SECONDS)
    if found is None:
        return None
    message = json.loads(found[1])
    with client.pipeline() as pipe:
        pipe.zadd("unacked_index", {tag: time.time()}).hset("unacked", tag, found[1]).execute()
        pipe.zrem("unacked_index", tag).hdel("unacked", tag).execute()
    experiment, index = json.loads(b64decode(message["body"]))[0]
    return str(experiment), int(index), message["headers"][WORK]


def _work(shared: Shared, index: int, kind: type[Crew]) -> None:
    crew = kind(shared, index)
    time.sleep(crew.random.random())
    client = redis.Redis.from_url(shared.settings.redis_url.get_secret_value())
    crew.log("free", crew.name)
    while not shared.pulse.is_stopping():
        crew.tell(None)
        try:
            message = _receive(client, crew.name)
        except redis.RedisError:
            time.sleep(1)
            continue
        if message is not None:
            crew.tell(message[0])
            crew.train(message[0], crew.chosen(*message))
            crew.log("free", crew.name)
    crew.log("stopped", crew.name)


def _bound_requests(said: list[int]) -> None:
    """One connection a request, no more than CONNECTIONS at once; counted in `said[0]`."""
    ask, gate = urllib3.PoolManager.urlopen, threading.BoundedSemaphore(CONNECTIONS)

    def bounded(self: Any, *args: Any, **kwargs: Any) -> Any:
        with gate:
            said[0] += 1
            return ask(self, *args, **kwargs)

    urllib3.PoolManager.urlopen = bounded  # type: ignore[method-assign]


def run(job: Job, pipe: Connection, kind: type[Crew] = Crew) -> None:
    """In a process of its own. Any word on the pipe is answered with what was asked of the store;
    "stop" makes workers end after their segment, "give back" at once, "end" ends the process."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.stack_size(512 << 10)
    logging.disable(logging.WARNING)  # each segment that is given back is worth one
    requests = [0]
    _bound_requests(requests)
    tries.Heartbeat = Beat  # type: ignore[assignment, misc]
    shared = Shared(job)
    _hearts.append(Hearts(shared.live))
    for index in range(job.workers):
        threading.Thread(target=_work, args=(shared, index, kind), daemon=True).start()
    while (word := pipe.recv()) != "end":
        if word == "stop":
            shared.pulse.stop()
        if word == "give back":
            shared.pulse.stop()
            shared.over.set()
        busy = len(_hearts[0].beating)
        pipe.send({"requests": requests[0], "busy": busy, "cpu": time.process_time()})
    os._exit(0)
