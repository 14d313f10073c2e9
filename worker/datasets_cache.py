"""The data sets that this process holds in memory, by digest and subset."""

import dataclasses
from functools import lru_cache
from pathlib import Path

from shared.arrays import Arrays, subset_indices
from shared.schedule import Config
from shared.settings import Settings
from shared.storage import Storage
from worker.preparation import fetch

HELD = 3


def arrays(config: Config, store: Storage, settings: Settings) -> Arrays:
    """The images that a config trains and is evaluated on."""
    dataset = config["dataset"]
    cache = settings.scratch / "hubel-datasets"
    return _subset(
        store, cache, dataset["digest"], dataset["train_samples"], dataset["test_samples"]
    )


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
