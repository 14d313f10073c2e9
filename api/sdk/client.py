"""The Python client: the service's HTTP interface, as notebooks and scripts use it."""

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api import connection
from api.lifecycle import State
from api.sdk import asked, shown
from api.sdk.errors import needed
from api.sdk.experiment import Experiment
from api.sdk.http import Http, word
from api.sdk.plan import Plan
from api.sdk.results import chart
from api.sdk.webhooks import Webhooks

if TYPE_CHECKING:
    from altair import TopLevelMixin

    from shared.spec import ExperimentSpec

Json = dict[str, Any]


class Client:
    """Of the service at `url` (or HUBEL_URL, or this machine's), with `token` (or HUBEL_TOKEN)."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        url = url or os.environ.get("HUBEL_URL") or connection.DEFAULT_URL
        self._http = Http(url, token or os.environ.get("HUBEL_TOKEN"))
        self.webhooks = Webhooks(self._http)

    def submit(
        self,
        spec: "ExperimentSpec | Mapping[str, Any] | str | None" = None,
        *,
        preset: str | None = None,
        scale: str | None = None,
        key: str | None = None,
        **overrides: Any,
    ) -> Experiment:
        """Submit a spec, or a preset with what is to be other in it:
        submit(preset="fig1a", scale="mini", seeds=[0, 1]).

        Each call makes an experiment of its own, however often the network makes it ask; with a
        `key` (Idempotency-Key) of one's own, calls with the same key make one. What is stored
        already is never trained again.
        """
        body = asked.experiment(spec, preset, scale, overrides)
        found = self._http.post("/v1/experiments", body, key)
        return Experiment(self._http, found["id"], found)

    def plan(
        self,
        spec: "ExperimentSpec | Mapping[str, Any] | str | None" = None,
        *,
        preset: str | None = None,
        scale: str | None = None,
        **overrides: Any,
    ) -> Plan:
        """What submitting the same would cost. Nothing is stored."""
        body = asked.experiment(spec, preset, scale, overrides)
        return Plan(self._http.post("/v1/experiments", body, dry_run="true"))

    def experiment(self, id: str) -> Experiment:
        """One that there is."""
        found = Experiment(self._http, id)
        found.status()
        return found

    def experiments(
        self,
        state: State | None = None,
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        limit: int | None = 100,
    ) -> "Experiments":
        """Newest first: of that state, with that part in their name and all of these tags."""
        tag = [f"{k}:{v}" for k, v in (tags or {}).items()]
        out = Experiments(self._http.url)
        for one in self._listed(
            state=state, name=name, tag=tag, page_size=min(limit or 1000, 1000)
        ):
            if limit is not None and len(out) >= limit:
                break
            out.append(Experiment(self._http, one["id"], one))
        return out

    def compare(
        self, *experiments: Experiment | str, figure: str = "critical_period", **options: Any
    ) -> "TopLevelMixin":
        """Two to eight experiments in one Altair chart: critical_period, learning_curves,
        fisher_trace."""
        ids = [one if isinstance(one, str) else one.id for one in experiments]
        return chart(self._http, "/v1/compare", experiments=",".join(ids), figure=figure, **options)

    def presets(self) -> list[Json]:
        """The paper's figures, ready to submit, with what each costs at every scale."""
        return list(self._http.get("/v1/presets")["presets"])

    def preset(self, name: str, scale: str | None = None) -> Json:
        """All of one: its spec, sources, open questions and cost."""
        return dict(self._http.get(f"/v1/presets/{word(name)}", scale=scale))

    def workers(self) -> Json:
        """Who is at work on what, and what waits."""
        return dict(self._http.get("/v1/workers"))

    def datasets(self) -> list[Json]:
        return list(self._http.get("/v1/datasets")["datasets"])

    def upload(self, name: str, data: str | Path | Mapping[str, Any]) -> Json:
        """Store a data set: an .npz, or arrays by name: train_images and test_images (uint8, N x H
        x W x C), train_labels and test_labels (integers)."""
        path = f"/v1/datasets/{word(name)}"
        if not isinstance(data, Mapping):
            return dict(self._http.put(path, Path(data)))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "data.npz")
            needed("numpy").savez_compressed(file, **data)
            return dict(self._http.put(path, file))

    def delete_dataset(self, name: str) -> None:
        self._http.remove(f"/v1/datasets/{word(name)}")

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._http.url!r})"

    def _listed(self, **query: Any) -> Iterator[Json]:
        for page in self._http.pages("/v1/experiments", "experiments", **query):
            for lost in page.get("unreadable", []):
                warnings.warn(f"{lost['id']} cannot be read: {lost['detail']}", stacklevel=4)
            yield from page["experiments"]


class Experiments(list[Experiment]):
    """A list that a notebook shows as a table."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def _repr_html_(self) -> str:
        return shown.table((one._seen for one in self if one._seen), self._url)
