"""The command line: an HTTP client and nothing more. Needs click, httpx and rich only."""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import click
import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from api import words

OK, ENDED_BADLY, REFUSED, NO_ANSWER = 0, 1, 2, 3
ENDED = ("succeeded", "failed", "cancelled")
POLL_SECONDS = 1.0
TIMEOUT = httpx.Timeout(60, connect=5)
FIGURE_FORMATS = {".svg": "svg", ".png": "png", ".json": "json", ".vl": "vegalite"}

Json = dict[str, Any]


class Service:
    """Calls the HTTP interface. What it refuses, and its absence, end the program with a word."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        try:
            # Loopback and lab addresses are not for the environment's proxy to see.
            self._client = httpx.Client(base_url=self.url, timeout=TIMEOUT, trust_env=False)
        except (httpx.InvalidURL, ValueError) as error:
            raise click.UsageError(f"{url!r} is no address: {error}") from None

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        return self._call("GET", path, params=_given(parameters))

    def post(self, path: str, **parts: Any) -> httpx.Response:
        return self._call("POST", path, **parts)

    def status(self, id: str) -> Json:
        return dict(self.get(f"/v1/experiments/{_word(id)}").json())

    def try_status(self, id: str) -> Json | None:
        """None while the service cannot answer; whoever watches asks again."""
        try:
            response = self._client.get(f"/v1/experiments/{_word(id)}")
        except httpx.TransportError:
            return None
        if response.status_code >= 500 or response.status_code == 429:
            return None
        return dict(_checked(response).json())

    def _call(self, method: str, path: str, **parts: Any) -> httpx.Response:
        try:
            return _checked(self._client.request(method, path, **parts))
        except httpx.TransportError as error:
            _fail(f"No answer from {self.url}: {error or type(error).__name__}. "
                  "Is the service up? Its address is --url or HUBEL_URL", NO_ANSWER)  # fmt: skip


pass_service = click.make_pass_decorator(Service)
experiment_id = click.argument("id")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hubel")
@click.option("--url", envvar="HUBEL_URL", default="http://127.0.0.1:8000", show_default=True,
              help="Address of the service; also HUBEL_URL.")  # fmt: skip
@click.pass_context
def main(context: click.Context, url: str) -> None:
    """Critical-learning-period experiments: submit, watch, read.

    Exit status: 0 well; 1 the experiment failed or was cancelled; 2 refused; 3 no answer.
    """
    context.obj = Service(url)


@main.command()
@click.argument("file", type=click.File("rb"))
@click.option("--watch", "watching", is_flag=True, help="Stay until it has ended.")
@click.option("--dry-run", is_flag=True, help="Only say what there would be to do.")
@click.option("--key", help="Idempotency-Key: submitting again with it is safe.")
@pass_service
def submit(service: Service, file: Any, watching: bool, dry_run: bool, key: str | None) -> None:
    """Submit the experiment in FILE (JSON; - is standard input)."""
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Idempotency-Key"] = key
    # The bytes as they are: the service's words about them are then about what was written.
    body = file.read().removeprefix(b"\xef\xbb\xbf")
    parameters = {"dry_run": "true"} if dry_run else {}
    answer = service.post("/v1/experiments", content=body, headers=headers, params=parameters)
    found = answer.json()
    if dry_run:
        click.echo(words.plan(found["plan"], found["certain"]))
        return
    click.echo(found["id"])
    if found.get("plan"):
        click.echo(words.plan(found["plan"], True), err=True)
    if watching:
        _watch(service, found["id"])


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
    _watch(service, id)


@main.command()
@experiment_id
@click.option("--format", type=click.Choice(["table", "json", "csv"]), default="table")
@pass_service
def results(service: Service, id: str, format: str) -> None:
    """Final accuracy of each point of the sweep: mean and 95 % interval over seeds."""
    found = service.get(f"/v1/experiments/{_word(id)}/summary").json()
    if format == "json":
        click.echo(json.dumps(found, indent=2))
    elif format == "csv":
        click.echo(words.summary_csv(found), nl=False)
    else:
        Console(markup=False, highlight=False).print(words.summary_table(found))


@main.command()
@experiment_id
@click.argument("name")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
              help="FILE.svg, .png, .json (its data) or .vl (Vega-Lite).")  # fmt: skip
@pass_service
def figure(service: Service, id: str, name: str, output: Path) -> None:
    """Save a figure: critical_period or fisher_trace."""
    format = FIGURE_FORMATS.get(output.suffix.lower())
    if format is None:
        raise click.UsageError(f"-o ends in one of {', '.join(FIGURE_FORMATS)}")
    path = f"/v1/experiments/{_word(id)}/figures/{_word(name)}"
    answer = service.get(path, format=format)
    try:
        output.write_bytes(answer.content)
    except OSError as error:
        _fail(f"{output} cannot be written: {error.strerror}", REFUSED)
    click.echo(str(output))


@main.command()
@experiment_id
@pass_service
def cancel(service: Service, id: str) -> None:
    """End an experiment now. What is stored stays."""
    service.post(f"/v1/experiments/{_word(id)}/cancel")
    click.echo(f"{id} cancelled")


@main.command("list")
@click.option("--state", type=click.Choice(["preparing", "queued", "running", *ENDED]))
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
        done = words.epochs(found)
        click.echo(f"{found['id']}  {found['state']:<9}  {found['created']}  {done:>12}  "
                   f"{words.plain(found['name'])}")  # fmt: skip


def _listed(service: Service, count: int, filters: Json) -> Iterator[Json]:
    token = None
    while count > 0:
        answer = service.get("/v1/experiments", page_size=count, page_token=token, **filters)
        page = answer.json()
        yield from page["experiments"]
        count -= len(page["experiments"])
        token = page["next_page_token"]
        if token is None:
            return


# --- watching ---


def _watch(service: Service, id: str) -> None:
    try:
        with _progress() as progress:
            found = _follow(service, id, progress)
    except KeyboardInterrupt:
        click.echo(f"\n{id} goes on without us. See it again: hubel watch {id}; "
                   f"end it: hubel cancel {id}", err=True)  # fmt: skip
        sys.exit(130)
    click.echo(words.status(found), err=True)
    if found["state"] != "succeeded":
        sys.exit(ENDED_BADLY)


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TextColumn("{task.fields[left]}"),
    )
    return Progress(*columns, console=Console(stderr=True))


def _follow(service: Service, id: str, progress: Progress) -> Json:
    bar = progress.add_task("", total=None, left="")
    while True:
        found = service.try_status(id)
        if found is None:
            progress.update(bar, left="no answer; asking again")
        else:
            _show(progress, bar, found)
            if found["state"] in ENDED:
                return found
        time.sleep(POLL_SECONDS)


def _show(progress: Progress, bar: TaskID, found: Json) -> None:
    epochs = (found["progress"] or {}).get("epochs", {})
    left = found.get("time_left_seconds")
    progress.update(
        bar,
        description=found["state"],
        completed=epochs.get("done", 0),
        total=epochs.get("planned"),
        left="" if left is None or found["state"] in ENDED else f"{words.duration(left)} left",
    )


# --- answers ---


def _given(parameters: Json) -> Json:
    return {name: value for name, value in parameters.items() if value not in (None, [])}


def _word(text: str) -> str:
    """One part of a path, whatever was typed."""
    if not text or not all(c.isascii() and (c.isalnum() or c in "_-") for c in text):
        raise click.UsageError(f"{text[:80]!r} is no id or name: letters, digits, _ and - only")
    return text


def _checked(response: httpx.Response) -> httpx.Response:
    if response.status_code >= 400:
        status = REFUSED if response.status_code < 500 else NO_ANSWER
        _fail(words.problem(response), status)
    return response


def _fail(message: str, status: int) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
