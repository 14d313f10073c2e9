"""What the service shows to Prometheus, or to two of them."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from api import meters
from shared.live import Live


class Told:
    def backlog(self) -> dict[str, Any]:
        return {"segments": {"waiting": 1, "queued": 2, "running": 3}, "experiments": {"queued": 1}}

    def queue_length(self) -> int:
        return 4


def test_two_who_ask_at_once_see_the_whole_backlog_each() -> None:
    live = cast(Live, Told())
    with ThreadPoolExecutor(4) as pool:
        texts = [text for text, _ in pool.map(lambda _: meters.exposition(live, ""), range(400))]
    for text in texts:
        lines = [line for line in text.decode().splitlines() if line.startswith("hubel_segments{")]
        assert lines == [
            'hubel_segments{state="waiting"} 1.0',
            'hubel_segments{state="queued"} 2.0',
            'hubel_segments{state="running"} 3.0',
        ]
