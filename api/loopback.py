"""Who is answered without a token: programs of this machine, by its own names. A web page that its
browser shows, and what a proxy on it passes on, come from this machine too."""

from ipaddress import ip_address

from starlette.requests import Request

SAFE = ("GET", "HEAD", "OPTIONS")
PASSED_ON = ("forwarded", "via", "x-real-ip")
FORWARDED = "x-forwarded-"


def refusal(request: Request) -> str | None:
    """Why this needs a token: others have a hand in it."""
    host = request.headers.get("host", "")
    if _is_a_domain(host):
        return (
            f"Without a token this service answers to names of this machine, not to"
            f" {host[:80]!r}: ask for http://127.0.0.1"
        )
    if passed_on := [n for n in request.headers if n in PASSED_ON or n.startswith(FORWARDED)]:
        return (
            f"The header {passed_on[0][:80]!r} says that a proxy passes this on, and without tokens"
            " whoever reaches the proxy could do everything: set HUBEL_REQUIRE_TOKENS=true"
        )
    if request.method not in SAFE and (page := _other_page(request, host)):
        return (
            f"This comes from another web page ({page[:80]}), which may change nothing here"
            " without a token"
        )
    return None


def _other_page(request: Request, host: str) -> str | None:
    """A browser sends a POST without a body for any page, and says only here for which."""
    own = f"{request.url.scheme}://{host}".lower()
    for origin in request.headers.getlist("origin"):
        if origin.lower() != own:
            return f"Origin: {origin}"
    for site in request.headers.getlist("sec-fetch-site"):
        if site not in ("same-origin", "none"):
            return f"Sec-Fetch-Site: {site}"
    return None


def _is_a_domain(host: str) -> bool:
    """Of a Host header. A web page whose domain was pointed at this machine's loopback would be
    answered otherwise: browsers hold it for the page's own server."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    name = name.strip("[]").rstrip(".").lower()
    try:
        ip_address(name)
    except ValueError:
        return "." in name and not name.endswith(".localhost")
    return False
