"""The data sets that this process holds in memory, by digest and subset."""

import dataclasses
from collections.abc import Callable

from shared.arrays import NAMES, Arrays, subset_indices
from shared.cache import Cache
from shared.errors import Corrupt, NotFound
from shared.schedule import Config
from shared.scratch import DATASETS
from shared.settings import Settings
from shared.storage import Storage
from worker.preparation import fetch, make_again

HELD_BYTES = 2 << 30
_held: Cache[Arrays] = Cache(HELD_BYTES)


def arrays(
    config: Config, store: Storage, settings: Settings, tick: Callable[[], None] = lambda: None
) -> Arrays:
    """The images that a config trains and is evaluated on. What is damaged in the store is made
    again, where it is built in."""
    data = config["dataset"]
    wanted = f"{data['digest']}/{data['train_samples']}/{data['test_samples']}"
    if (found := _held.get(wanted)) is None:
        found = _subset(data, _whole(data, store, settings, tick))
        _held.keep(wanted, found, sum(getattr(found, name).nbytes for name in NAMES))
    return found


def _whole(data: Config, store: Storage, settings: Settings, tick: Callable[[], None]) -> Arrays:
    cache = settings.scratch / DATASETS
    try:
        return fetch(data["digest"], store, cache, tick)
    except (Corrupt, NotFound) as error:
        make_again(data["name"], data["digest"], store, settings, error.detail)
    return fetch(data["digest"], store, cache, tick)


def _subset(data: Config, whole: Arrays) -> Arrays:
    train = subset_indices("train", len(whole.train_labels), data["train_samples"])
    test = subset_indices("test", len(whole.test_labels), data["test_samples"])
    return dataclasses.replace(
        whole,
        train_images=whole.train_images[train],
        train_labels=whole.train_labels[train],
        test_images=whole.test_images[test],
        test_labels=whole.test_labels[test],
    )
