"""`hubel tag` and `hubel delete`: what is said of an experiment once it is there, and its end."""

import click

from api import words
from api.client import STATUS, Json, Service, word

pass_service = click.make_pass_decorator(Service)


@click.command()
@click.argument("id")
@click.argument("changes", nargs=-1, metavar="[KEY=VALUE | KEY-]...")
@click.option("--notes", help="Text that takes the place of the notes; empty removes them.")
@pass_service
def tag(service: Service, id: str, changes: tuple[str, ...], notes: str | None) -> None:
    """Set tags of an experiment (KEY=VALUE), remove them (KEY-), or write notes.

    Without any, say what it has.
    """
    body: Json = {"tags": dict(map(_change, changes))} if changes else {}
    if notes is not None:
        body["notes"] = notes
    path = f"/v1/experiments/{word(id)}"
    answer = service.patch(path, json=body) if body else service.get(path)
    found = service.read(answer, *STATUS, "tags")
    for line in words.remarks(found):
        click.echo(line)


@click.command()
@click.argument("id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_service
def delete(service: Service, id: str, yes: bool) -> None:
    """Delete an experiment that has ended, and what nothing else needs of it."""
    path = f"/v1/experiments/{word(id)}"
    if not yes:
        found = service.read(service.get(path), *STATUS)
        shown = f"{id}  {found['state']}  {words.plain(found['name'])}".rstrip()
        click.confirm(f"{shown}\nDelete it, and what only it needs? That is for good", abort=True)
    service.delete(path)
    click.echo(f"{id} deleted")


def _change(text: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    if equals and key:
        return key, value
    if not equals and text.endswith("-") and text != "-":
        return text[:-1], None
    raise click.UsageError(f"{text[:80]!r}: the form is KEY=VALUE, or KEY- to remove a tag")
