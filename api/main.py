"""The HTTP service: one app from the settings, and the process that serves it."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

import uvicorn
from fastapi import Depends, FastAPI

from api import errors, openapi
from api.dependencies import known_parameters
from api.limits import BodyLimit
from api.readiness import Readiness
from api.reconcile import Reconciler
from api.renderer import Renderer
from api.request_id import RequestId
from api.routers import (
    analysis,
    catalog,
    checkpoints,
    datasets,
    experiments,
    fisher,
    health,
    measurements,
    results,
    upkeep,
)
from api.service import Service
from shared.live import Live
from shared.queue import Sender, make_app
from shared.records import Records
from shared.settings import Settings
from shared.storage import Storage

IDLE_SECONDS = 65
"""Longer than the usual proxy keeps a connection, so that it is the proxy that closes it."""


def create_app(settings: Settings) -> FastAPI:
    """Answers without a store too, with 503, until the store is there."""
    store, live = Storage(settings), Live(settings)
    service = Service(Records(store), live, Sender(make_app(settings)), settings)
    renderer = Renderer()
    readiness, reconciler = Readiness(store, live), Reconciler(service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        readiness.start()
        reconciler.start()
        yield
        readiness.stop()
        reconciler.stop()
        renderer.close()

    app = FastAPI(
        title="Hubel",
        version=_version(),
        summary="Critical-learning-period experiments as a service",
        lifespan=lifespan,
        # The pages of documentation would load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=errors.responses(),
        dependencies=[Depends(known_parameters)],
    )
    app.state.service, app.state.readiness = service, readiness
    app.state.renderer = renderer
    parts = (
        experiments, measurements, results, fisher, analysis, checkpoints, datasets, catalog,
        health, upkeep,
    )  # fmt: skip
    for module in parts:
        app.include_router(module.router)
    errors.install(app)
    openapi.install(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestId)
    return app


def _version() -> str:
    try:
        return version("hubel")
    except PackageNotFoundError:
        return "0"


def main() -> None:
    settings = Settings()
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=settings.log_level == "debug",
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=8,
    )


if __name__ == "__main__":
    main()
