"""What lives long is left out of full collections, and freed all the same."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from api import long_lived
from api.long_lived import LongLived


class Node:
    other: "Node | None" = None


@pytest.fixture
def looked_after() -> Iterator[LongLived]:
    yield LongLived()
    gc.unfreeze()


def cycle() -> "weakref.ref[Node]":
    one, two = Node(), Node()
    one.other, two.other = two, one
    return weakref.ref(one)


def test_a_full_collection_looks_at_what_came_since(looked_after: LongLived) -> None:
    kept = [[number] for number in range(10_000)]
    looked_after.pass_over()
    assert gc.get_freeze_count() > len(kept)
    assert len(gc.get_objects()) < len(kept)


def test_what_is_left_out_is_freed_once_nothing_refers_to_it(looked_after: LongLived) -> None:
    node = Node()
    seen = weakref.ref(node)
    looked_after.pass_over()
    del node
    assert seen() is None


def test_cycles_among_it_are_freed_in_time(
    looked_after: LongLived, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = cycle()
    gc.freeze()
    gc.collect()
    assert one() is not None, "it is left out"
    looked_after.pass_over()  # the first one looks at everything
    assert one() is None
    two = cycle()
    gc.freeze()
    looked_after.pass_over()
    assert two() is not None
    monkeypatch.setattr(long_lived, "WHOLE_SECONDS", 0.0)
    looked_after.pass_over()
    assert two() is None
