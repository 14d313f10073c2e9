"""Without tokens this machine's programs are answered; web pages and other machines are not."""

from collections.abc import Iterator

import httpx
import pytest
from serving import serving
from small import body

from shared.settings import Settings
from shared.storage import Storage
from shared.tokens import NewToken, Tokens

pytestmark = pytest.mark.services

SIMPLE = ("/v1/store/collect", "/v1/store/check?repair=true", f"/v1/experiments/{'0' * 24}/cancel")
"""What a browser sends for any web page without asking first: a POST without a body."""


@pytest.fixture
def client(settings: Settings, storage: Storage) -> Iterator[httpx.Client]:
    with (
        serving(settings) as url,
        httpx.Client(base_url=url, timeout=30, trust_env=False) as client,
    ):
        yield client


@pytest.mark.parametrize("path", SIMPLE)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:{port}"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Origin": "http://127.0.0.1:{port}.attacker.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:{port}"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://attacker.example"},
    ],
)
def test_what_another_web_page_sends_is_refused(
    client: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    sent = {name: value.format(port=client.base_url.port) for name, value in headers.items()}
    answer = client.post(path, headers=sent)
    assert answer.status_code == 401
    assert "another web page" in answer.json()["detail"]


@pytest.mark.parametrize("path", SIMPLE)
@pytest.mark.parametrize("site", [{}, {"Sec-Fetch-Site": "same-origin"}])
def test_a_web_page_of_the_service_s_own_is_answered(
    client: httpx.Client, path: str, site: dict[str, str]
) -> None:
    own = f"http://127.0.0.1:{client.base_url.port}"
    for origin in ({}, {"Origin": own}):
        answer = client.post(path, headers=origin | site)
        assert answer.status_code in (200, 404), answer.text


def test_a_web_page_elsewhere_may_link_to_what_is_read(client: httpx.Client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "header", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via"]
)
def test_what_a_proxy_passes_on_needs_a_token(
    client: httpx.Client, storage: Storage, header: str
) -> None:
    """Whoever it was, the proxy's own requests come from this machine."""
    passed = {header: "203.0.113.7"}
    for method, path in (("GET", "/v1/models"), ("POST", "/v1/store/collect")):
        answer = client.request(method, path, headers=passed)
        assert answer.status_code == 401
        assert "HUBEL_REQUIRE_TOKENS=true" in answer.json()["detail"]
    assert client.get("/healthz", headers=passed).status_code == 200
    _, token = Tokens(storage).make(NewToken(name="x", scopes=["submit"]), "test")
    named = passed | {"Authorization": f"Bearer {token}", "Origin": "https://lab.example"}
    answer = client.post("/v1/experiments?dry_run=true", json=body(), headers=named)
    assert answer.status_code == 200
