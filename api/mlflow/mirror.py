"""The mirror of every experiment to an MLflow server: a thread of the process that reconciles.

It asks nobody what has changed: the reconcile loop beside it knows. What that cannot say comes in
turn, so that a pass is short however many experiments there are, and however long nobody answered.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import nsmallest

from api import meters
from api.mlflow.cursor import Cursor
from api.mlflow.sending import Sending
from api.mlflow.server import Away, Server
from api.service import Service
from shared import logs, names
from shared.errors import Corrupt, HubelError, NotFound

log = logging.getLogger(__name__)

PASS_SECONDS, ONE_SECONDS = 5.0, 2.0
"""For one pass, and in it for one experiment: others wait too."""
IN_TURN = 32
"""Experiments without a change that a pass looks at."""
LONGEST_PAUSE = 60.0
"""Between two questions whether the server is back."""
SHARE = 0.1
"""Of the time, at most, goes into one experiment that has nothing left to send."""
SAVE_SECONDS = 10.0
LATE_SECONDS, VERY_LATE_SECONDS, AGAIN_SECONDS = 5.0, 3600.0, 300.0
"""An experiment may be listed later than a younger one: by so much as a rule, and by so much where
a clock was wrong or the store away. For those it is looked every AGAIN_SECONDS."""


@dataclass
class Open:
    """An experiment that is not wholly mirrored."""

    cursor: Cursor | None = None
    looked: float = float("-inf")
    due: float = float("-inf")
    """Not before this moment."""
    done: int = -1
    """Segments that were done when it was last looked at."""
    told: str = ""
    """Why it waits, as the log says already."""


@dataclass
class Position:
    since: str
    """The oldest experiment that is mirrored."""
    newest: str
    """The youngest experiment that was taken up."""
    open: dict[str, Open] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    """Of those that may be listed again."""
    save_at: float = float("-inf")
    list_at: float = float("-inf")
    saved: tuple[str, ...] = ()


class Mirror:
    def __init__(self, service: Service, leads: Callable[[], bool], server: Server) -> None:
        self.service, self.store, self.server = service, service.store, server
        self._leads, self._sending = leads, Sending(service, server)
        self._position: Position | None = None
        """None: another process mirrors, as far as this one knows."""
        self._away = 0
        """How often in a row nobody answered."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="mlflow", daemon=True)

    @classmethod
    def of(cls, service: Service, leads: Callable[[], bool]) -> "Mirror | None":
        """None where no server is set."""
        settings = service.settings
        return None if settings.mlflow_uri is None else cls(service, leads, Server(settings))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2)

    def _loop(self) -> None:
        while not self._stop.wait(self._pause()):
            # Without Redis every process leads.
            if not self._leads() or not self.service.live.answers():
                self._position = None
                continue
            try:
                self.pass_over()
                self._away = 0
            except Away as error:
                self._away += 1
                meters.MIRROR_FAILURES.inc()
                if self._away == 1:
                    log.warning("the mirror to MLflow waits, training goes on: %s", error.detail)
            except HubelError as error:
                log.warning("the mirror to MLflow waits: %s", error.detail)
            except Exception:
                log.exception("the mirror to MLflow failed; it is tried again")

    def _pause(self) -> float:
        return min(self.service.settings.reconcile_seconds * 2**self._away, LONGEST_PAUSE)

    def pass_over(self) -> None:
        until = time.monotonic() + PASS_SECONDS
        position = self._position = self._position or self._read()
        self._take_up(position)
        for id in self._due(position):
            if self._stop.is_set() or time.monotonic() > until:
                break
            with logs.about(experiment=id):
                self._look(position, id)
        self._save(position)
        meters.MIRROR_OPEN.set(len(position.open))

    def _look(self, position: Position, id: str) -> None:
        one, begun = position.open[id], time.monotonic()
        one.looked = begun
        try:
            self.service.plan(id)
            one.done = self._done(id)
            one.cursor = one.cursor or Cursor.read(self.store, id)
            is_whole = one.cursor.ended or self._bring(id, one.cursor)
            one.cursor.write(self.store, id)
            one.due, one.told = time.monotonic() + (time.monotonic() - begun) / SHARE, ""
            if not is_whole:
                one.due, one.done = begun, -1
        except Away:
            one.done = -1
            raise
        except NotFound:  # it was deleted
            self._end(position, id)
        except HubelError as error:
            self._failed(one, error.detail)
        except Exception as error:
            log.exception("it could not be mirrored to MLflow")
            self._failed(one, repr(error))
        else:
            if one.cursor.ended:
                self._end(position, id)

    def _bring(self, id: str, cursor: Cursor) -> bool:
        return self._sending.bring(id, cursor, time.monotonic() + ONE_SECONDS)

    def _end(self, position: Position, id: str) -> None:
        del position.open[id]
        position.ended.add(id)

    def _failed(self, one: Open, reason: str) -> None:
        """Of this experiment alone: it waits, and others do not."""
        meters.MIRROR_FAILURES.inc()
        one.done, one.due = -1, time.monotonic() + LONGEST_PAUSE
        if one.told != reason:
            one.told = reason
            log.warning("its mirror to MLflow waits: %s", reason)

    # --- which ones ---

    def _due(self, position: Position) -> Iterator[str]:
        """Those where something changed, that which was looked at longest ago first; then others in
        turn."""
        now, open = time.monotonic(), position.open
        ready = [id for id, one in open.items() if one.due <= now]
        ready.sort(key=lambda id: open[id].looked)
        changed = [id for id in ready if self._changed(id, open[id])]
        yield from changed
        rest = (id for id in ready if id not in set(changed))
        yield from nsmallest(IN_TURN, rest, key=lambda id: open[id].looked)

    def _changed(self, id: str, one: Open) -> bool:
        if self.service.outcomes.seen(id) is not None:
            return True
        return self._done(id) not in (one.done, -1)

    def _done(self, id: str) -> int:
        """Segments that are done, as far as this process has seen."""
        tracker = self.service.tracked(id)
        return -1 if tracker is None else len(tracker.done)

    def _take_up(self, position: Position) -> None:
        """Those that were accepted since."""
        now = time.monotonic()
        late = LATE_SECONDS
        if now > position.list_at:
            late, position.list_at = VERY_LATE_SECONDS, now + AGAIN_SECONDS
        floor = max(position.since, names.earliest(names.created(position.newest) - late))
        for entry in self.service.index.entries():
            if (id := names.experiment_of(entry)) < floor:
                break
            if id not in position.ended:
                position.open.setdefault(id, Open())
        position.newest = max([position.newest, *position.open])
        oldest = names.earliest(names.created(position.newest) - 2 * VERY_LATE_SECONDS)
        position.ended = {id for id in position.ended if id >= oldest}

    def _read(self) -> Position:
        """Where the process before stopped. At the very first time: with the oldest experiment that
        is under way."""
        try:
            stored = self.store.read_json(names.mirror_position())
            open = {id: Open() for id in stored["open"]}
            return Position(stored["since"], stored["newest"], open)
        except NotFound:
            first = next(self.store.names(names.ACTIVE), None)
        except Corrupt as error:
            log.error("looked for by the cursors: %s", error)
            cursors = self.store.names(names.MIRRORS)
            first = next((name for name in cursors if names.parts(name).kind == "mirror"), None)
        id = names.new_experiment_id() if first is None else names.mirrored(first)
        return Position(id, id, {} if first is None else {id: Open()})

    def _save(self, position: Position) -> None:
        """What is saved late is found again: by its cursor, or in the list."""
        now, open = time.monotonic(), tuple(sorted(position.open))
        if now >= position.save_at and position.saved != (position.newest, *open):
            stored = {"since": position.since, "newest": position.newest, "open": list(open)}
            self.store.write_json(names.mirror_position(), stored)
            position.saved, position.save_at = (position.newest, *open), now + SAVE_SECONDS
