"""An experiment, as it is handled in a notebook or a script."""

import contextlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from api.lifecycle import ENDED
from api.sdk import asked, shown, waiting
from api.sdk.errors import ServiceError, failed
from api.sdk.http import Http
from api.sdk.plan import Plan
from api.sdk.results import Results

if TYPE_CHECKING:
    from shared.measurements import LaterMeasurements

Json = dict[str, Any]


class Experiment(Results):
    """One that was submitted. Whatever is asked of it is asked of the service, anew each time."""

    def __init__(self, http: Http, id: str, seen: Json | None = None) -> None:
        super().__init__(http, id)
        self._seen = seen
        """Its status when it was last looked at."""

    @property
    def url(self) -> str:
        """Of its page."""
        return f"{self._http.url}/experiments/{self.id}"

    @property
    def state(self) -> str:
        """preparing, queued, running, succeeded, failed or cancelled."""
        return str(self.status()["state"])

    def status(self) -> Json:
        """State, progress, seconds left, failures, plan."""
        self._seen = dict(self._http.get(self._path))
        return self._seen

    def spec(self) -> Json:
        """What was accepted, with every default written out."""
        return dict(self._http.get(f"{self._path}/spec"))

    def plan(self) -> Json:
        """Its runs and the segments that they share, with how far each is."""
        return dict(self._http.get(f"{self._path}/plan"))

    def wait(
        self, progress: bool = True, timeout: float | None = None, check: bool = True
    ) -> "Experiment":
        """Stay until it has ended. A service that is away is asked again until it answers.

        ExperimentFailed where it did not succeed, unless `check` is off; TimeoutError after
        `timeout` seconds, or on Ctrl-C KeyboardInterrupt, and the experiment goes on.
        """
        try:
            found = waiting.to_the_end(self._glance, self._http.url, progress, timeout)
        except KeyboardInterrupt:
            print(
                f"\n{self.id} goes on without us."
                f" Wait again: client.experiment({self.id!r}).wait();"
                f" end it: client.experiment({self.id!r}).cancel()",
                file=sys.stderr,
            )
            raise
        if check and found["state"] != "succeeded":
            raise failed(found)
        return self

    def cancel(self) -> "Experiment":
        """End it now; what is stored stays. Again: no change."""
        self._seen = self._http.read(self._http.call("POST", f"{self._path}/cancel"))
        return self

    def retry(self, key: str | None = None) -> "Experiment":
        """A new experiment of the same spec, for what has failed or was cancelled."""
        return self._made(f"{self._path}/retry", None, key)

    def fork(
        self,
        run: int = 0,
        epoch: int = 0,
        set: Mapping[str, Any] | None = None,
        key: str | None = None,
        **more: Any,
    ) -> "Experiment":
        """A new experiment that leaves this one's run after so many epochs, with other settings
        (`set`: path in the spec to value) from there on."""
        return self._made(f"{self._path}/fork", _fork(run, epoch, set, more), key)

    def plan_fork(
        self, run: int = 0, epoch: int = 0, set: Mapping[str, Any] | None = None, **more: Any
    ) -> Plan:
        """What the fork would cost; nothing is stored."""
        return self._planned(f"{self._path}/fork", _fork(run, epoch, set, more))

    def prune(
        self, run: int = 0, epoch: int = 0, key: str | None = None, **more: Any
    ) -> "Experiment":
        """A new experiment in which this one's run is pruned after so many epochs, by each
        `criterion` to each of `sparsities`; `pruning()` of that one has what came of it."""
        return self._made(f"{self._path}/pruning", _fork(run, epoch, None, more), key)

    def plan_prune(self, run: int = 0, epoch: int = 0, **more: Any) -> Plan:
        """What the pruning would cost; nothing is stored."""
        return self._planned(f"{self._path}/pruning", _fork(run, epoch, None, more))

    def measure(
        self,
        measurements: "LaterMeasurements | Mapping[str, Any] | None" = None,
        key: str | None = None,
        **more: Any,
    ) -> "Experiment":
        """A job that measures stored states, say measure(second_order={}). Its numbers join those
        of this experiment; nothing is trained."""
        return self._made(f"{self._path}/measurements", _measured(measurements, more), key)

    def plan_measure(
        self, measurements: "LaterMeasurements | Mapping[str, Any] | None" = None, **more: Any
    ) -> Plan:
        """What the job would cost; nothing is stored."""
        return self._planned(f"{self._path}/measurements", _measured(measurements, more))

    def measurements(self) -> "list[Experiment]":
        """The jobs that measure it, oldest first."""
        pages = self._http.pages(f"{self._path}/measurements", "measurements", page_size=1000)
        return [Experiment(self._http, job["id"]) for page in pages for job in page["measurements"]]

    def tag(self, tags: Mapping[str, str | None] | None = None, **more: str | None) -> Json:
        """Set tags, and remove those that are None; all that there are then."""
        return dict(self._patched({"tags": {**(tags or {}), **more}})["tags"])

    def note(self, text: str | None) -> Json:
        """Write down what one wants to remember of it; None: nothing."""
        return self._patched({"notes": text})

    def delete(self) -> None:
        """Remove it, and what only it needed. There is no way back."""
        self._http.remove(self._path)

    def __repr__(self) -> str:
        return f"<Experiment {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Experiment) and other._identity == self._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str, str]:
        return self._http.url, self.id

    def _repr_html_(self) -> str | None:
        if self._seen is None or self._seen["state"] not in ENDED:
            with contextlib.suppress(ServiceError):
                self._glance()
        return shown.one(self._seen, self._http.url) if self._seen else None

    def _glance(self) -> Json:
        """The status, or an error at once."""
        self._seen = dict(self._http.get(self._path, patience=0))
        return self._seen

    def _made(self, path: str, body: Any, key: str | None) -> "Experiment":
        found = self._http.post(path, body, key)
        return Experiment(self._http, found["id"], found)

    def _planned(self, path: str, body: Any) -> Plan:
        return Plan(self._http.post(path, body, dry_run="true"))

    def _patched(self, change: Json) -> Json:
        self._seen = self._http.read(self._http.call("PATCH", self._path, json=change))
        return self._seen


def _fork(run: int, epoch: int, set: Mapping[str, Any] | None, more: Json) -> Any:
    body: Json = {"run": run, "epoch": epoch, **more}
    return asked.plain(body if set is None else body | {"set": set})


def _measured(measurements: Any, more: Json) -> Any:
    return (asked.plain(measurements) or {}) | asked.plain(more)
