"""What a store holds, in tables on disk for the time of one check: memory stays small however
large the store is."""

import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

CACHE_KIB = 16_384

_TABLES = """
create table experiment(
    id text primary key, spec int, plan int, outcome text, measures text, modified real
) without rowid;
create table marked(kind text, id text, other text, primary key(kind, id, other)) without rowid;
create table manifest(
    scope text, key text, parent text, start int, end int, checkpoint text, metrics text,
    primary key(scope, key)
) without rowid;
create index by_checkpoint on manifest(checkpoint);
create index by_metrics on manifest(metrics);
create table pointer(
    scope text, key text, target text, modified real, primary key(scope, key)
) without rowid;
create table attempt(name text primary key, scope text, key text, id text) without rowid;
create table measured(scope text, key text, probe text, primary key(scope, key, probe))
    without rowid;
create table collected(
    scope text, key text, checkpoint text, modified real, primary key(scope, key)
) without rowid;
create table blob(sha text primary key, bytes int, modified real) without rowid;
create table absent(scope text, key text, primary key(scope, key)) without rowid;
create table kept(scope text, key text, primary key(scope, key)) without rowid;
create table lost(
    scope text, key text, probe text, object text, kind text, found text, bytes int,
    id text, segment int, primary key(scope, key, probe, object)
) without rowid;
"""


class Ledger:
    """`with Ledger(folder) as ledger:`; the file is gone afterwards."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hubel-check-", dir=folder)
        # One check is one thread at a time, but not always the same one.
        self._db = sqlite3.connect(
            Path(self._folder.name) / "ledger", check_same_thread=False, isolation_level=None
        )
        for pragma in ("journal_mode=off", "synchronous=off", f"cache_size=-{CACHE_KIB}"):
            self._db.execute(f"pragma {pragma}")
        self._db.executescript(_TABLES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        self._folder.cleanup()

    def add(self, table: str, *values: Any) -> None:
        """A row, in place of one with the same key. `table` is a word of this program."""
        marks = ", ".join("?" * len(values))
        self._db.execute(f"insert or replace into {table} values({marks})", values)

    def do(self, statement: str, *values: Any) -> int:
        """How many rows it changed."""
        return self._db.execute(statement, values).rowcount

    def rows(self, question: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        yield from self._db.execute(question, values)

    def has(self, question: str, *values: Any) -> bool:
        return self._db.execute(question, values).fetchone() is not None

    def number(self, question: str, *values: Any) -> int:
        return int(self._db.execute(question, values).fetchone()[0] or 0)
