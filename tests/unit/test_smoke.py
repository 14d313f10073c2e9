"""The smoke test of a running service waits for whatever stands before it."""

from typing import cast

import pytest

from deploy import smoke


class Answers:
    def __init__(self, status: int, data: bytes) -> None:
        self.status, self.data = status, data

    def ask(self, *_: object, **__: object) -> tuple[int, bytes]:
        return self.status, self.data


@pytest.mark.parametrize(
    ("status", "data", "why"),
    [
        (200, b'{"status": "ready"}', ""),
        (200, b'{"status": "degraded"}', '200: {"status": "degraded"}'),
        (502, b"<h1>Bad Gateway</h1>", "502: <h1>Bad Gateway</h1>"),
    ],
)
def test_a_proxy_that_answers_in_its_place_is_no_crash(status: int, data: bytes, why: str) -> None:
    assert smoke.is_ready(cast(smoke.Service, Answers(status, data))) == why
