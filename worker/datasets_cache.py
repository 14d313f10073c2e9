"""The data sets that this process holds in memory, by digest and subset."""

import dataclasses
from functools import lru_cache
from pathlib import Path

from shared.arrays import Arrays, subset_indices
from shared.errors import Corrupt, NotFound
from shared.schedule import Config
from shared.settings import Settings
from shared.storage import Storage
from worker.preparation import fetch, make_again

HELD = 3


def arrays(config: Config, store: Storage, settings: Settings) -> Arrays:
    """The images that a config trains and is evaluated on. What is damaged in the store is made
    again, where it is built in."""
    data, cache = config["dataset"], settings.scratch / "hubel-datasets"
    wanted = (store, cache, data["digest"], data["train_samples"], data["test_samples"])
    try:
        return _subset(*wanted)
    except (Corrupt, NotFound) as error:
        make_again(data["name"], data["digest"], store, settings, error.detail)
    return _subset(*wanted)


@lru_cache(maxsize=HELD)
def _subset(store: Storage, cache: Path, digest: str, train: int, test: int) -> Arrays:
    whole = fetch(digest, store, cache)
    train_rows = subset_indices("train", len(whole.train_labels), train)
    test_rows = subset_indices("test", len(whole.test_labels), test)
    return dataclasses.replace(
        whole,
        train_images=whole.train_images[train_rows],
        train_labels=whole.train_labels[train_rows],
        test_images=whole.test_images[test_rows],
        test_labels=whole.test_labels[test_rows],
    )
