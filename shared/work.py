"""Units of work as Redis and the store name them."""

from shared.plan import Segment


def work_name(segment: Segment) -> str:
    """One name for a segment's lease, queue mark and progress, whichever experiment wants it. What
    only measures stands at the end of another one, and is work of its own."""
    return f"{segment.scope}{segment.key}{'/line' if segment.only_measures else ''}"


def preparation_work(dataset: str) -> str:
    return f"dataset/{dataset}"


def repair_work(segment: Segment) -> str:
    return f"repair/{work_name(segment)}"
