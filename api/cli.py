"""The command line: an HTTP client and nothing more. Needs click, httpx and rich only."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from api import cli_manage, cli_tokens, cli_webhooks, connection, follow, overrides, words
from api.cli_fsck import fsck
from api.cli_group import Commands
from api.client import REFUSED, STATUS, Json, Service, fail, word
from api.lifecycle import STATES
from api.sdk.results import PICTURES

KEY = re.compile(r"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
JSON_TYPE = {"Content-Type": "application/json"}


pass_service = click.make_pass_decorator(Service)
experiment_id = click.argument("id")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hubel")
@click.option("--url", envvar="HUBEL_URL", default=connection.DEFAULT_URL, show_default=True,
              help="Address of the service; also HUBEL_URL.")  # fmt: skip
@click.option("--token", envvar="HUBEL_TOKEN",
              help="Better as HUBEL_TOKEN: others can read a command's arguments.")  # fmt: skip
@click.pass_context
def main(context: click.Context, url: str, token: str | None) -> None:
    """Critical-learning-period experiments: submit, watch, read.

    Exit status: 0 well; 1 the experiment failed or was cancelled; 2 refused; 3 no answer;
    130 interrupted.
    """
    context.obj = Service(url, token)


def _key(context: click.Context, parameter: click.Parameter, key: str | None) -> str | None:
    if key is not None and not KEY.fullmatch(key):
        raise click.BadParameter("a key is 1 to 255 printable ASCII characters")
    return key


def _request(command: Any) -> Any:
    """What a command that posts something is given."""
    for option in (
        click.option("--key", callback=_key, help="Idempotency-Key: to send it again is safe."),
        click.option("--dry-run", is_flag=True, help="Only say what there would be to do."),
        click.option("--watch", "watching", is_flag=True, help="Stay until it has ended."),
    ):
        command = option(command)
    return command


@main.command()
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--preset", help="Instead of FILE: a figure of the paper; `presets` lists them.")
@click.option("--scale", help="Of the preset: mini, half or paper.")
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE",
              help="In the preset's spec, say seeds=[0,1]; null removes. Repeat it.")  # fmt: skip
@_request
@pass_service
def submit(
    service: Service, file: Any, preset: str | None, scale: str | None, settings: tuple[str, ...],
    watching: bool, dry_run: bool, key: str | None,
) -> None:  # fmt: skip
    """Submit the experiment in FILE (JSON; - is standard input), or a preset."""
    if (file is None) == (preset is None):
        raise click.UsageError("give FILE or --preset, one of them")
    if preset is None:
        if scale is not None or settings:
            raise click.UsageError("--scale and --set go with --preset")
        content = _read(file)
    else:
        named = {"preset": preset} if scale is None else {"preset": preset, "scale": scale}
        content = json.dumps(named | overrides.read(settings)).encode()
    _post(service, "/v1/experiments", content, watching, dry_run, key)


@main.command()
@click.argument("name", required=False)
@click.option("--scale", help="With NAME: mini, half or paper, which is the default.")
@click.option("--json", "as_json", is_flag=True, help="As the service gives it.")
@pass_service
def presets(service: Service, name: str | None, scale: str | None, as_json: bool) -> None:
    """The paper's figures, ready to submit; with NAME all of one, as JSON."""
    if name is not None:
        answer = service.get(f"/v1/presets/{word(name)}", scale=scale)
        click.echo(json.dumps(service.read(answer, "spec", "plan"), indent=2))
        return
    found = service.read(service.get("/v1/presets"), "presets")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    _print(words.presets_table(found))


@main.command()
@experiment_id
@click.argument("file", type=click.File("rb"))
@_request
@pass_service
def measure(
    service: Service, id: str, file: Any, watching: bool, dry_run: bool, key: str | None
) -> None:
    """Measure what is stored of an experiment as FILE says (JSON; - is standard input).

    What comes is a job, with a status of its own; its numbers join the experiment's.
    """
    path = f"/v1/experiments/{word(id)}/measurements"
    _post(service, path, _read(file), watching, dry_run, key)


def _post(
    service: Service, path: str, content: bytes, watching: bool, dry_run: bool, key: str | None
) -> None:
    headers = JSON_TYPE if key is None else JSON_TYPE | {"Idempotency-Key": key}
    parameters = {"dry_run": "true"} if dry_run else {}
    answer = service.post(path, content=content, headers=headers, params=parameters)
    if dry_run:
        planned = service.read(answer, "plan")
        click.echo(words.plan(planned["plan"], planned.get("certain", True)))
        return
    found = service.read(answer, *STATUS)
    click.echo(found["id"])
    if found.get("plan"):
        click.echo(words.plan(found["plan"], True), err=True)
    if watching:
        follow.to_the_end(service, found["id"])


def _read(file: Any) -> bytes:
    """The bytes as they are: the service's words about them are then about what was written."""
    try:
        return bytes(file.read().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        fail(f"{file.name} cannot be read: {error.strerror}", REFUSED)


@main.command()
@experiment_id
@click.option("--json", "as_json", is_flag=True, help="As the service gives it.")
@pass_service
def status(service: Service, id: str, as_json: bool) -> None:
    """Say how far an experiment is."""
    found = service.status(id)
    click.echo(json.dumps(found, indent=2) if as_json else words.status(found))


@main.command()
@experiment_id
@pass_service
def watch(service: Service, id: str) -> None:
    """Stay until an experiment has ended. Ctrl-C leaves it running."""
    service.status(id)
    follow.to_the_end(service, id)


@main.command()
@experiment_id
@click.option("--format", type=click.Choice(["table", "json", "csv"]), default="table")
@pass_service
def results(service: Service, id: str, format: str) -> None:
    """Final accuracy of each point of the sweep: mean and 95 % interval over seeds."""
    answer = service.get(f"/v1/experiments/{word(id)}/summary")
    found = service.read(answer, "name", "points")
    if format == "json":
        click.echo(json.dumps(found, indent=2))
    elif format == "csv":
        click.echo(words.summary_csv(found), nl=False)
    else:
        _print(words.summary_table(found))


def _print(table: Table) -> None:
    console = Console(markup=False, highlight=False)
    with console.capture() as text:
        console.print(table)
    click.echo(text.get(), nl=False)


@main.command()
@experiment_id
@click.argument("name")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
              help="FILE.svg, .png, .pdf, .csv or .json (data), or .vl (Vega-Lite).")  # fmt: skip
@click.option("--overlay", multiple=True, help="A digitised curve of the paper to lay over it.")
@pass_service
def figure(service: Service, id: str, name: str, output: Path, overlay: tuple[str, ...]) -> None:
    """Save a figure, say critical_period, sensitivity or fisher_trace."""
    format = PICTURES.get(output.suffix.lower())
    if format is None:
        raise click.UsageError(f"-o ends in one of {', '.join(PICTURES)}")
    path = f"/v1/experiments/{word(id)}/figures/{word(name)}"
    answer = service.get(path, format=format, overlay=list(overlay))
    try:
        output.write_bytes(answer.content)
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}", REFUSED)
    click.echo(str(output))


@main.command()
@experiment_id
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
              help="FILE.zip; ID.zip without it.")  # fmt: skip
@click.option("--checkpoints", type=click.Choice(["none", "final", "all"]), default="none",
              show_default=True, help="final: the last of each run that has ended.")  # fmt: skip
@pass_service
def export(service: Service, id: str, output: Path | None, checkpoints: str) -> None:
    """Save all of an experiment: numbers, figures, event files, a script that draws them again."""
    path, file = f"/v1/experiments/{word(id)}/export.zip", output or Path(f"{id}.zip")
    size = service.save(path, file, checkpoints=checkpoints)
    click.echo(f"{file}  {size / 1e6:.1f} MB")


@main.command()
@experiment_id
@pass_service
def cancel(service: Service, id: str) -> None:
    """End an experiment now. What is stored stays."""
    service.read(service.post(f"/v1/experiments/{word(id)}/cancel"), *STATUS)
    click.echo(f"{id} cancelled")


@main.command()
@experiment_id
@click.option("--key", callback=_key, help="Idempotency-Key: to send it again is safe.")
@click.option("--watch", "watching", is_flag=True, help="Stay until it has ended.")
@pass_service
def retry(service: Service, id: str, key: str | None, watching: bool) -> None:
    """Try again what has failed or was cancelled: what is stored is not trained again.

    What comes is a new experiment of the same spec; its id is printed.
    """
    _post(service, f"/v1/experiments/{word(id)}/retry", b"", watching, False, key)


@main.command()
@experiment_id
@click.option("--run", type=click.IntRange(0), required=True, help="Its index in the experiment.")
@click.option("--epoch", type=click.IntRange(0), required=True, help="What comes after is other.")
@click.option("--set", "settings", multiple=True, metavar="PATH=VALUE",
              help="In the run's spec, say training.batch_size=32. Repeat it.")  # fmt: skip
@click.option("--name", help="Of the new experiment.")
@_request
@pass_service
def fork(
    service: Service, id: str, run: int, epoch: int, settings: tuple[str, ...], name: str | None,
    watching: bool, dry_run: bool, key: str | None,
) -> None:  # fmt: skip
    """Go on otherwise from an epoch of a run: only what is new is trained.

    What comes is a new experiment; its id is printed.
    """
    asked = {"run": run, "epoch": epoch, "set": overrides.flat(settings)}
    content = json.dumps(asked if name is None else asked | {"name": name}).encode()
    _post(service, f"/v1/experiments/{word(id)}/fork", content, watching, dry_run, key)


@main.command("list")
@click.option("--state", type=click.Choice(STATES))
@click.option("--name", help="Part of the name.")
@click.option("--tag", multiple=True, help="key:value; all of them.")
@click.option("-n", "count", type=click.IntRange(1), default=20, show_default=True)
@pass_service
def listing(
    service: Service, state: str | None, name: str | None, tag: tuple[str, ...], count: int
) -> None:
    """Experiments, newest first."""
    filters = {"state": state, "name": name, "tag": list(tag)}
    for found in _listed(service, count, filters):
        done = words.done(found)
        click.echo(f"{found['id']}  {found['state']:<9}  {found['created']}  {done:>18}  "
                   f"{words.plain(found['name'])}")  # fmt: skip


def _listed(service: Service, count: int, filters: Json) -> Iterator[Json]:
    token = None
    while count > 0:
        answer = service.get("/v1/experiments", page_size=count, page_token=token, **filters)
        page = service.read(answer, "experiments", "next_page_token")
        for lost in page.get("unreadable", []):
            click.echo(f"{lost['id']}  cannot be read: {words.plain(lost['detail'])}", err=True)
        yield from page["experiments"]
        count -= len(page["experiments"])
        token = page["next_page_token"]
        if token is None:
            return


main.add_command(cli_manage.tag)
main.add_command(cli_manage.delete)
main.add_command(cli_tokens.token)
main.add_command(cli_webhooks.webhook)
main.add_command(fsck)


if __name__ == "__main__":
    main()
