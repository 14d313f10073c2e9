"""The documents as a browser and a program are given them."""

from typing import Any

import httpx
import pytest
from small import submit

pytestmark = pytest.mark.services


def test_the_type_of_an_error_leads_to_what_it_means(lab: Any, http: httpx.Client) -> None:
    id = submit(lab)
    asked = [
        http.get("/v1/experiments/1"),
        http.get("/nowhere"),
        http.put("/v1/experiments"),
        http.post("/v1/experiments", json={"trainig": {}}),
        http.post(f"/v1/experiments/{id}/retry"),
        http.get("/v1/experiments?page_token=x"),
    ]
    found = {answer.json()["type"]: answer.status_code for answer in asked}
    assert len(found) == 5
    for kind, status in found.items():
        said = http.get(kind)
        assert said.status_code == 200
        assert said.json()["explanation"].startswith(f"{status}. ")
        page = http.get(kind, headers={"Accept": "text/html,*/*;q=0.8"})
        assert page.headers["content-type"].startswith("text/html")
        assert f"<h1>{said.json()['code']}</h1>" in page.text


def test_documents_are_pages_and_others_are_problems(http: httpx.Client) -> None:
    for path in ("/docs", "/docs/numbers", "/docs/endpoints", "/docs/problems"):
        answer = http.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    for path in ("/docs/..%2Fmain", "/docs/x", "/problems/x"):
        assert http.get(path).headers["content-type"] == "application/problem+json"
