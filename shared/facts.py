"""What keys and plans must know of a data set, looked up in the store or in the catalog."""

from shared import dataset_store
from shared.datasets import CATALOG
from shared.errors import DataDamaged, Fault, Invalid, NotFound
from shared.schedule import Facts
from shared.storage import Storage


def lookup(name: str, store: Storage) -> Facts | None:
    """Facts of a data set that is prepared; None for one that is not, or that nobody knows. A
    damaged one that is built in counts as not prepared: a worker makes it again."""
    known = CATALOG.get(name)
    try:
        summary = dataset_store.find(name, store).summary
    except NotFound:
        return None
    except DataDamaged:
        if known is None:
            raise
        return None
    return Facts(
        name=name,
        digest=summary.digest,
        shape=summary.shape,
        classes=summary.classes,
        train=summary.train,
        test=summary.test,
        mean=(known and known.mean) or summary.mean,
        std=(known and known.std) or summary.std,
    )


def provisional(name: str) -> Facts:
    """Facts of a built-in data set before a worker has prepared it; the digest is not known."""
    known = CATALOG.get(name)
    if known is None:
        message = (
            f"there is no data set '{name}': built in are {sorted(CATALOG)}; "
            "PUT your own to /v1/datasets/{name} first"
        )
        raise Invalid(message, [Fault("/dataset/name", "no-such-dataset", message)])
    zeros = (0.0,) * known.shape[2]
    return Facts(name, "", known.shape, known.classes, known.train, known.test, zeros, zeros)
