"""`hubel token`: make tokens, list them, revoke one. The HTTP interface does it."""

import json
from datetime import UTC, datetime, timedelta

import click

from api import words
from api.client import Json, Service, word

pass_service = click.make_pass_decorator(Service)
SCOPES = ("read", "submit", "admin")


@click.group()
def token() -> None:
    """Tokens: who may do what. Needs a token with the scope admin."""


@token.command()
@click.argument("name")
@click.option("--scope", type=click.Choice(SCOPES), default="read", show_default=True,
              help="Each includes those before it.")  # fmt: skip
@click.option("--rate", type=click.IntRange(1), help="Requests a minute.")
@click.option("--quota", type=click.FloatRange(0), help="Device seconds, in all.")
@click.option("--days", type=click.FloatRange(0, 3650, min_open=True), help="Until it expires.")
@pass_service
def create(
    service: Service, name: str, scope: str, rate: int | None, quota: float | None,
    days: float | None,
) -> None:  # fmt: skip
    """Make a token for NAME, and print it: it is shown this once."""
    expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
    body = {
        "name": name,
        "scopes": [scope],
        "requests_per_minute": rate,
        "device_seconds": quota,
        "expires": expires and expires.isoformat(),
    }
    found = service.read(service.post("/v1/tokens", json=body), "id", "token")
    click.echo(f"id {found['id']}, scope {scope}; nobody can show it again", err=True)
    click.echo(found["token"])


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="As the service gives it.")
@pass_service
def listing(service: Service, as_json: bool) -> None:
    """All tokens, oldest first; never their secrets."""
    found: list[Json] = []
    following = ""
    while following is not None:
        answer = service.get("/v1/tokens", page_size=200, page_token=following or None)
        page = service.read(answer, "tokens", "next_page_token")
        for lost in page.get("unreadable", []):
            click.echo(f"{lost['id']}  cannot be read: {words.plain(lost['detail'])}", err=True)
        found += page["tokens"]
        following = page["next_page_token"]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for one in found:
        click.echo(f"{one['id']}  {one['state']:<7}  {one['scopes'][-1]:<6}  {one['created']}  "
                   f"{words.plain(one['name'])}{_limits(one)}")  # fmt: skip


def _limits(one: Json) -> str:
    rate, seconds = one["requests_per_minute"], one["device_seconds"]
    parts = [f"{rate} requests a minute"] if rate else []
    if seconds["allowed"] is not None:
        parts.append(f"{seconds['used']:g} of {seconds['allowed']:g} device seconds used")
    if one["expires"]:
        parts.append(f"until {one['expires']}")
    return f"  ({', '.join(parts)})" if parts else ""


@token.command()
@click.argument("id")
@pass_service
def revoke(service: Service, id: str) -> None:
    """Let a token count no more. For good."""
    service.delete(f"/v1/tokens/{word(id)}")
    click.echo(f"{id} revoked")
