"""Addresses that are told when an experiment has ended."""

from collections.abc import Iterator, Sequence
from typing import Any

from api.sdk import asked
from api.sdk.http import Http, word

Json = dict[str, Any]
PATH = "/v1/webhooks"


class Webhooks:
    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self) -> Any:
        return self._http.get(PATH)["webhooks"]

    def create(self, url: str, events: Sequence[str] | None = None, description: str = "") -> Json:
        """With its `secret`, which is shown this once. Without `events`: of all kinds."""
        body = {"url": url, "description": description}
        body |= {} if events is None else {"events": asked.plain(events)}
        return dict(self._http.read(self._http.call("POST", PATH, once=True, json=body)))

    def delete(self, id: str) -> None:
        self._http.remove(f"{PATH}/{word(id)}")

    def test(self, id: str) -> Any:
        """Send it a message now."""
        return self._http.read(self._http.call("POST", f"{PATH}/{word(id)}/test", once=True))

    def deliveries(self, id: str) -> Iterator[Json]:
        """What was sent to it and how that went, latest first, as long as somebody takes them."""
        for page in self._http.pages(f"{PATH}/{word(id)}/deliveries", "deliveries"):
            yield from page["deliveries"]
