"""What the processes say: a record a line, as JSON or text, with the ids of what it is about."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

IDS = ("request", "experiment", "segment", "worker")
"""What a record may be about, in this order."""

_asked: ContextVar[dict[str, str]] = ContextVar("asked")
"""Of the request that this task or thread serves."""
_at_work: dict[str, str] = {}
"""Of the one piece of work that this process is at: also for its threads, which inherit nothing."""


def set_up(level: str, form: Literal["json", "text"]) -> None:
    """For a whole process, once: every library's records too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_json() if form == "json" else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.setLogRecordFactory(_record)
    if level != "debug":  # lines of each task and request, which say nothing that ours do not
        for library in ("celery", "httpx"):
            logging.getLogger(library).setLevel(logging.WARNING)


@contextmanager
def about(**ids: str | None) -> Iterator[None]:
    """What is logged within, in this task or thread, is about these."""
    token = _asked.set(_asked.get({}) | _known(ids))
    try:
        yield
    finally:
        _asked.reset(token)


def current(name: str) -> str | None:
    """The id of this name that a record would now carry."""
    return (_at_work | _asked.get({})).get(name)


def at_work(**ids: str | None) -> None:
    """From here on every thread of this process is about these; those that are None are over."""
    _at_work.update(_known(ids))
    for name in [name for name, id in ids.items() if id is None]:
        _at_work.pop(name, None)


def _known(ids: dict[str, str | None]) -> dict[str, str]:
    return {name: id for name, id in ids.items() if id is not None}


def _record(*args: object, **kwargs: object) -> logging.LogRecord:
    record = logging.LogRecord(*args, **kwargs)  # type: ignore[arg-type]
    for name, id in (_at_work | _asked.get({})).items():
        setattr(record, name, id)
    return record


def _json() -> logging.Formatter:
    return JsonFormatter(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
        timestamp="time",
        # What uvicorn and Celery hang on their records says the same again.
        reserved_attrs=[*_STANDARD, "color_message", "data", "taskName"],
    )


_STANDARD = [*vars(logging.makeLogRecord({})), "message", "asctime"]


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        ids = [f"{name}={id}" for name in IDS if (id := getattr(record, name, None))]
        return super().formatMessage(record) + (f" [{' '.join(ids)}]" if ids else "")
