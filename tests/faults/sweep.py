"""A sweep of some seconds, submitted and watched as a client does, and all that is seen of it."""

import hashlib
import json
import secrets
import time
from typing import Any

import httpx

ENDED = ("succeeded", "failed", "cancelled")
BODY = {
    "name": "faults",
    "dataset": {"name": "gratings", "train_samples": 128, "test_samples": 64},
    "model": {"name": "all_cnn", "width": 0.05},
    "training": {"epochs_after_deficit": 2, "batch_size": 64, "augmentation": {"shift": 2}},
    "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 0},
    "sweep": {"deficit.end": [0, 2, 4]},
    "fisher": {"every": 2, "samples": 16},
    "linear_path": {"points": 3, "samples": 32},
}
PARTS = ("runs", "summary", "analysis")
PASSING = ("time", "reused", "key", "id", "links", "provenance", "expires", "link")
"""Not numbers of a result: when, where and under which name it was made."""
BUSY = (409, 429, 502, 503)
"""Answers after which a client asks again."""
COMPLAINTS, SHOWN = 5, 600
Seen = dict[str, Any]


class Sweep:
    """One experiment at one address; `complaints` collects whatever a user would call wrong."""

    def __init__(self, http: httpx.Client, seed: int, **changes: Any) -> None:
        self.http = http
        self.seed = seed
        self.body = BODY | {"seeds": [seed]} | changes
        self.key = secrets.token_hex(8)
        self.id = ""
        self.complaints: list[str] = []
        self.end: tuple[str, str] | None = None
        """State and time, once there is an outcome."""

    def submit(self, seconds: float = 120) -> None:
        """Again and again with one Idempotency-Key, until it is accepted."""
        deadline = time.monotonic() + seconds
        while not self.id:
            answer = self._ask("POST", "", json=self.body, headers={"Idempotency-Key": self.key})
            if answer is not None and answer.status_code == 202:
                self.id = answer.json()["id"]
            elif time.monotonic() > deadline:
                raise TimeoutError(f"not accepted in {seconds:.0f} s: {answer and answer.text}")
            else:
                time.sleep(0.2)

    def status(self) -> dict[str, Any] | None:
        """None while nobody can say."""
        answer = self._ask("GET", f"/{self.id}")
        if answer is None or answer.status_code != 200:
            if answer is not None and answer.status_code == 404:
                self.complain(f"lost: {self.id} is accepted and then not found")
            return None
        status = answer.json()
        end = (status["state"], status["finished"])
        if self.end is not None and end != self.end:
            self.complain(f"lost: it had ended as {self.end} and is now {end}")
        if status["state"] in ENDED:
            self.end = end
        return dict(status)

    def await_epochs(self, epochs: int, seconds: float = 60) -> None:
        """Until so many are done, or all is over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = self.status()
            if status and status["progress"] and status["progress"]["epochs"]["done"] >= epochs:
                return
            if self.end is not None:
                return
            time.sleep(0.05)

    def await_end(self, reference: Seen, seconds: float) -> None:
        """Meanwhile every number that is shown has to be the reference's."""
        deadline = time.monotonic() + seconds
        while self.end is None:
            self.status()
            self.compare_part(reference)
            if time.monotonic() > deadline:
                self.complain(f"lost: no end after {seconds:.0f} s: {self.status()}")
                return
            time.sleep(0.25)

    def compare_part(self, reference: Seen) -> None:
        """Rows of what is done so far: each is one of the reference's."""
        for part in ("metrics", "fisher"):
            answer = self._ask("GET", f"/{self.id}/{part}", params={"page_size": 100_000})
            if answer is not None and answer.status_code == 200:
                known = {_text(_so_far(row)) for row in reference[part]}
                rows = map(_so_far, _lasting(answer.json()))
                for row in (row for row in rows if _text(row) not in known):
                    self.complain(f"wrong: {part} shows {row}")

    def compare(self, reference: Seen) -> None:
        """At the end, or long after it."""
        if self.end is None or self.end[0] != "succeeded":
            self.complain(f"lost: it ended as {self.end}: {self.status()}")
            return
        seen = self.seen()
        for part, expected in reference.items():
            if _text(seen[part]) != _text(expected):
                self.complain(f"wrong: {part} is {_difference(seen[part], expected)}")

    def seen(self) -> Seen:
        """All that must not depend on what happened on the way."""
        pages = {"params": {"page_size": 100_000}}
        rows = {part: _lasting(self._read(f"/{part}", **pages)) for part in ("metrics", "fisher")}
        kept = self._read("/checkpoints", params={"page_size": 1000})["checkpoints"]
        weights = sorted(
            (run, state["epoch"], self._verified(state)) for state in kept for run in state["runs"]
        )
        scores = {part: _lasting(self._read(f"/{part}")) for part in PARTS}
        return {**rows, **scores, "weights": weights}

    def complain(self, complaint: str) -> None:
        if complaint[:SHOWN] not in self.complaints and len(self.complaints) < COMPLAINTS:
            self.complaints.append(complaint[:SHOWN])

    def _verified(self, state: dict[str, Any]) -> str:
        """The digest of a state's weights, as the bytes behind its link have it."""
        about = self._get(state["links"]["self"])
        found = hashlib.sha256(httpx.get(about["link"], timeout=60).content).hexdigest()
        if found != state["sha256"]:
            self.complain(f"wrong: the weights {state['sha256']} have the digest {found}")
        return found

    def _read(self, path: str, **options: Any) -> Any:
        return self._get(f"/v1/experiments/{self.id}{path}", **options)

    def _get(self, path: str, seconds: float = 60, **options: Any) -> Any:
        deadline = time.monotonic() + seconds
        while (answer := self._answer("GET", path, **options)) is None or answer.status_code != 200:
            if time.monotonic() > deadline:
                raise TimeoutError(f"GET {path} is not answered: {answer and answer.text}")
            time.sleep(0.3)
        return answer.json()

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        return self._answer(method, f"/v1/experiments{path}", **options)

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        try:
            answer = self.http.request(method, path, **options)
        except httpx.HTTPError:
            return None
        if answer.status_code >= 500 and answer.status_code not in BUSY:
            self.complain(f"wrong: {method} {path} is answered {answer.status_code} {answer.text}")
        return answer


def _lasting(value: Any) -> Any:
    """Without what may differ from one making to the next."""
    if isinstance(value, dict):
        return {k: _lasting(v) for k, v in value.items() if k not in PASSING}
    if isinstance(value, list):
        return [_lasting(entry) for entry in value]
    return value


def _so_far(row: dict[str, Any]) -> dict[str, Any]:
    """A trace without the accuracy beside it, which comes when its segment is stored."""
    return {name: value for name, value in row.items() if name != "beside"}


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _difference(found: Any, expected: Any) -> str:
    if isinstance(found, list) and isinstance(expected, list):
        if len(found) != len(expected):
            return f"{len(found)} long, expected {len(expected)}"
        pairs = [(a, b) for a, b in zip(found, expected, strict=True) if _text(a) != _text(b)]
        return _difference(*pairs[0])
    if isinstance(found, dict) and isinstance(expected, dict):
        names = [n for n in expected | found if _text(found.get(n)) != _text(expected.get(n))]
        return f"[{names[0]}] {_difference(found.get(names[0]), expected.get(names[0]))}"
    return f"{_text(found)[:200]}, expected {_text(expected)[:200]}"
