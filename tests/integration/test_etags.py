"""What is answered in one piece has a strong ETag: who has it already is told so."""

from typing import Any

import httpx
import pytest
from small import submit

pytestmark = pytest.mark.services


def test_a_status_is_sent_again_once_it_has_changed(lab: Any, http: httpx.Client) -> None:
    path = f"/v1/experiments/{submit(lab)}"
    first = http.get(path)
    tag = first.headers["ETag"]
    assert tag.startswith('"')
    assert http.head(path).headers["ETag"] == tag
    same = http.get(path, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    assert not {"content-type", "content-length"} & same.headers.keys()
    assert same.headers["X-Request-ID"]
    http.post(f"{path}/cancel").raise_for_status()
    changed = http.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.json()["state"] == "cancelled"
    assert changed.headers["ETag"] != tag


def test_refusals_and_streams_have_none(lab: Any, http: httpx.Client) -> None:
    id = submit(lab)
    answers = [http.get(f"/v1/experiments/{'0' * 24}", headers={"If-None-Match": "*"})]
    answers.append(http.get(f"/v1/experiments/{id}/figures/critical_period"))
    answers.append(http.get(f"/v1/experiments/{id}/metrics?format=csv"))
    assert [answer.status_code for answer in answers] == [404, 409, 200]
    assert not any("ETag" in answer.headers for answer in answers)
