"""Where a request on a user's behalf may go. Names are really resolved: numbers, localhost."""

import socket

import pytest

from shared.addresses import Pinned, public
from shared.errors import Invalid


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0.0.0.0", "localhost",
        "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "224.0.0.1",
        "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
        "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[fec0::1]", "[ff02::1]", "[ff0e::1]",
        "[::ffff:127.0.0.1]", "[::ffff:8.8.8.8]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
        "[::127.0.0.1]", "[2001:db8::1]", "[3fff::1]", "[3fff:fff:ffff::1]",
        "192.0.0.8", "192.0.0.9", "192.0.0.170", "192.88.99.1", "192.88.99.255",
    ],
)  # fmt: skip
def test_what_is_not_public_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(Invalid, match=r"not a public address|is not known"):
        public(f"http://{host}/hook")


@pytest.mark.parametrize(
    "url",
    ["ftp://8.8.8.8", "file:///etc/passwd", "8.8.8.8", "http://", "https:///x", "//8.8.8.8/",
     "http://8.8.8.8:99999", "http://[::1", "gopher://8.8.8.8", "", "javascript:alert(1)"],
)  # fmt: skip
def test_only_http_and_https_with_a_host_are_urls_to_call(url: str) -> None:
    with pytest.raises(Invalid):
        public(url)


@pytest.mark.parametrize("character", ["\0", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", " ", "\xa0"])
@pytest.mark.parametrize(
    "url", ["http://8.8.8.8{}", "http://8.8.8.8{}x/hook", "http://8.8.8.8/a{}b", "http://{}8.8.8.8"]
)
def test_a_url_holds_neither_spaces_nor_control_characters(url: str, character: str) -> None:
    """A NUL ends a host for who resolves it, and not for who checks it."""
    with pytest.raises(Invalid, match="space or a control character"):
        public(url.format(character))


@pytest.mark.parametrize("user", ["user:hunter2@", "user@", "@", "8.8.8.8:80@"])
def test_names_and_passwords_in_a_url_are_refused_and_not_repeated(user: str) -> None:
    with pytest.raises(Invalid) as refused:
        public(f"http://{user}1.1.1.1/")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "pinned"),
    [
        ("https://8.8.8.8/hook?x=1", Pinned("8.8.8.8", 443, ("8.8.8.8",))),
        ("http://1.1.1.1:8080", Pinned("1.1.1.1", 8080, ("1.1.1.1",))),
        (
            "https://[2001:4860:4860::8888]/",
            Pinned("2001:4860:4860::8888", 443, ("2001:4860:4860::8888",)),
        ),
    ],
)
def test_a_public_address_is_pinned(url: str, pinned: Pinned) -> None:
    assert public(url) == pinned


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """The name service is somebody else's: here it says what its owner wants it to."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 80)) for one in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "8.8.8.8", "10.0.0.1")
    with pytest.raises(Invalid, match=r"10\.0\.0\.1, which is not a public"):
        public("http://rebound.example")


def test_a_name_that_answers_otherwise_the_second_time_has_been_pinned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers(monkeypatch, "8.8.8.8", "1.1.1.1")
    pinned = public("http://rebound.example")
    answers(monkeypatch, "127.0.0.1")
    assert pinned == Pinned("rebound.example", 80, ("8.8.8.8", "1.1.1.1"))
