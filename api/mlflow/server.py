"""An MLflow tracking server, through its REST API: the few calls that a mirror needs.

Its client library is not used: it brings dozens of packages, and retries where we have to know
whether something arrived.
"""

from collections.abc import Iterator
from typing import Any

import httpx

from shared.errors import HubelError
from shared.settings import Settings

ROOT = "/api/2.0/mlflow"
MOST_METRICS, MOST_PARAMS = 1000, 100
"""That the server takes in one call."""
RUNS_OF_A_PAGE = 200
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 20.0
NOT_NOW = (401, 403, 408, 425, 429)
"""Refusals that say nothing about what was sent."""
MISSING, EXISTS = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"


class Away(HubelError):
    """Nobody answers, or nobody that would take anything now: all of the mirror waits."""

    status, code, title = 503, "mlflow-away", "The MLflow server does not answer"


class Refused(HubelError):
    """The server does not take what it was sent."""

    status, code, title = 409, "mlflow-refused", "Refused by the MLflow server"

    def __init__(self, detail: str, reason: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        """MLflow's word for it."""


class Server:
    def __init__(self, settings: Settings) -> None:
        assert settings.mlflow_uri is not None
        self.name = settings.mlflow_experiment
        token = settings.mlflow_token and settings.mlflow_token.get_secret_value()
        self._http = httpx.Client(
            base_url=settings.mlflow_uri.get_secret_value().rstrip("/") + ROOT,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            headers={"Authorization": f"Bearer {token}"} if token else {},
        )
        self._experiment: str | None = None

    def close(self) -> None:
        self._http.close()

    def runs(self, tag: str, value: str) -> Iterator[dict[str, Any]]:
        """All with this tag, deleted ones too, each with the last point of each metric."""
        asked = {
            "experiment_ids": [self._experiment_id()],
            "filter": f"tags.`{tag}` = '{value}'",
            "run_view_type": "ALL",
            "max_results": RUNS_OF_A_PAGE,
        }
        page = self._post("runs/search", asked)
        yield from page.get("runs", [])
        while token := page.get("next_page_token"):
            page = self._post("runs/search", asked | {"page_token": token})
            yield from page.get("runs", [])

    def create(self, name: str, start: int, tags: dict[str, str]) -> str:
        """The id of a new run that began at `start`, in milliseconds since 1970."""
        made = {"run_name": name, "start_time": start, "tags": _pairs(tags)}
        try:
            answer = self._post("runs/create", {"experiment_id": self._experiment_id()} | made)
        except Refused as error:
            if error.reason == MISSING:
                self._experiment = None
            raise
        return str(answer["run"]["info"]["run_id"])

    def log(self, run: str, metrics: list[dict[str, Any]], params: dict[str, str]) -> None:
        """Up to MOST_METRICS and MOST_PARAMS."""
        body = {"run_id": run, "metrics": metrics, "params": _pairs(params)}
        self._post("runs/log-batch", body)

    def end(self, run: str, status: str, at: int) -> None:
        self._post("runs/update", {"run_id": run, "status": status, "end_time": at})

    def delete(self, run: str) -> None:
        self._post("runs/delete", {"run_id": run})

    def _experiment_id(self) -> str:
        if self._experiment is None:
            self._experiment = self._found() or self._made()
        return self._experiment

    def _found(self) -> str | None:
        try:
            answer = self._get("experiments/get-by-name", {"experiment_name": self.name})
        except Refused as error:
            if error.reason == MISSING:
                return None
            raise
        found = answer["experiment"]
        if found.get("lifecycle_stage") == "deleted":
            raise Away(
                f"The MLflow experiment '{self.name}' is deleted: restore it there, or give another"
                " HUBEL_MLFLOW_EXPERIMENT"
            )
        return str(found["experiment_id"])

    def _made(self) -> str:
        try:
            return str(self._post("experiments/create", {"name": self.name})["experiment_id"])
        except Refused as error:
            found = self._found() if error.reason == EXISTS else None
            if found is None:
                raise
            return found

    def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        return self._ask(self._http.build_request("GET", f"/{path}", params=query))

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._ask(self._http.build_request("POST", f"/{path}", json=body))

    def _ask(self, request: httpx.Request) -> dict[str, Any]:
        what = request.url.path.removeprefix(self._http.base_url.path)
        try:
            answer = self._http.send(request)
            body = answer.json()
        except httpx.HTTPError as error:
            raise Away(f"{what} at HUBEL_MLFLOW_URI: {type(error).__name__}: {error}") from error
        except ValueError:  # a proxy, or another service
            raise Away(
                f"{what} at HUBEL_MLFLOW_URI: {answer.status_code} with {answer.text[:80]!r},"
                " expected JSON of an MLflow tracking server"
            ) from None
        if answer.is_success:
            return dict(body)
        said = f"{what}: {answer.status_code} {str(body)[:300]}"
        if answer.status_code >= 500 or answer.status_code in NOT_NOW:
            raise Away(said)
        raise Refused(said, str(body.get("error_code")))


def _pairs(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]
