"""`hubel webhook`: have the service tell how experiments end. The HTTP interface does it."""

import json
import sys

import click

from api import words
from api.client import Json, Service, word

EVENTS = ("experiment.succeeded", "experiment.failed", "experiment.cancelled")
FIELDS = ("id", "state", "url", "events")

pass_service = click.make_pass_decorator(Service)


@click.group()
def webhook() -> None:
    """Webhooks: be told how experiments end. Needs a token with the scope submit."""


@webhook.command()
@click.argument("url")
@click.option("--event", "events", multiple=True, type=click.Choice(EVENTS),
              help="What to tell; without it all of them. Repeat it.")  # fmt: skip
@click.option("--description", default="", help="What it is for.")
@pass_service
def create(service: Service, url: str, events: tuple[str, ...], description: str) -> None:
    """Tell URL from now on, and print the secret to verify with: it is shown this once."""
    body = {"url": url, "events": events or EVENTS, "description": description}
    found = service.read(service.post("/v1/webhooks", json=body), *FIELDS, "secret")
    click.echo(f"id {found['id']}; nobody can show the secret again", err=True)
    click.echo(found["secret"])


@webhook.command("list")
@click.option("--json", "as_json", is_flag=True, help="As the service gives it.")
@pass_service
def listing(service: Service, as_json: bool) -> None:
    """All webhooks, oldest first; never their secrets."""
    page = service.read(service.get("/v1/webhooks"), "webhooks")
    for lost in page.get("unreadable", []):
        click.echo(f"{lost['id']}  cannot be read: {words.plain(lost['detail'])}", err=True)
    if as_json:
        click.echo(json.dumps(page["webhooks"], indent=2))
        return
    for one in page["webhooks"]:
        told = ", ".join(event.removeprefix("experiment.") for event in one["events"])
        click.echo(f"{one['id']}  {one['state']:<8}  {words.plain(one['url'])}  ({told})")


@webhook.command()
@click.argument("id")
@click.option("-n", "count", type=click.IntRange(1, 200), default=20, show_default=True)
@pass_service
def deliveries(service: Service, id: str, count: int) -> None:
    """What was told there, latest first, and how the last try went."""
    answer = service.get(f"/v1/webhooks/{word(id)}/deliveries", page_size=count)
    for one in service.read(answer, "deliveries")["deliveries"]:
        click.echo(_line(one))


@webhook.command()
@click.argument("id")
@pass_service
def test(service: Service, id: str) -> None:
    """Send a message of type webhook.test now. Exit status 1 where it was not taken."""
    found = service.read(service.post(f"/v1/webhooks/{word(id)}/test"), "state", "tries")
    click.echo(_line(found))
    if found["state"] != "delivered":
        sys.exit(1)


@webhook.command()
@click.argument("id")
@pass_service
def delete(service: Service, id: str) -> None:
    """Tell nothing more there, and forget the secret. For good."""
    service.delete(f"/v1/webhooks/{word(id)}")
    click.echo(f"{id} deleted")


def _line(one: Json) -> str:
    last = one["tries"][-1]
    about = one["experiment"] or "a test"
    tries = "1 try" if len(one["tries"]) == 1 else f"{len(one['tries'])} tries"
    return (
        f"{last['at']}  {one['state']:<9}  {one['type']:<20}  {about}  {tries},"
        f" the last: {words.plain(last['reason'])}"
    )
