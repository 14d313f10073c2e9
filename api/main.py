"""The HTTP service: one app from the settings, and the process that serves it."""

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

import uvicorn
from fastapi import Depends, FastAPI
from pydantic import ValidationError

from api import errors, openapi
from api.auth import Gate
from api.dependencies import READ, known_parameters
from api.dispatch import Dispatcher
from api.etags import ETags
from api.heads import Heads
from api.limits import BodyLimit
from api.mlflow.mirror import Mirror
from api.readiness import Readiness
from api.reconcile import Reconciler
from api.renderer import Renderer
from api.request_id import RequestId, access
from api.routers import (
    analysis,
    catalog,
    checkpoints,
    compare,
    datasets,
    documents,
    events,
    experiments,
    export,
    failures,
    fisher,
    forks,
    health,
    information,
    measurements,
    page,
    plan,
    pruning,
    results,
    tokens,
    upkeep,
    webhooks,
    workers,
)
from api.server import Server, raise_file_limit
from api.service import Service
from shared import logs, scratch
from shared.errors import HubelError
from shared.live import Live
from shared.meters import BUILD, version
from shared.queue import Sender, make_app
from shared.records import Records
from shared.settings import Settings
from shared.storage import Storage
from shared.tokens import Tokens

NOT_CONFIGURED = 78
"""Exit status: EX_CONFIG of sysexits.h."""
IDLE_SECONDS = 65
"""Longer than the usual proxy keeps a connection, so that it is the proxy that closes it."""


def create_app(settings: Settings) -> FastAPI:
    """Answers without a store too, with 503, until the store is there."""
    store, live = Storage(settings), Live(settings)
    service = Service(Records(store), live, Sender(make_app(settings)), settings)
    renderer = Renderer()
    readiness, reconciler = Readiness(store, live), Reconciler(service)
    dispatcher = Dispatcher(service)
    mirror = Mirror.of(service, lambda: reconciler.leads)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        scratch.remove_abandoned(settings.scratch)
        readiness.start()
        reconciler.start()
        dispatcher.start()
        if mirror is not None:
            mirror.start()
        yield
        if mirror is not None:
            mirror.stop()
        readiness.stop()
        reconciler.stop()
        dispatcher.stop()
        renderer.close()

    app = FastAPI(
        title="Hubel",
        version=version(),
        summary="Critical-learning-period experiments as a service",
        lifespan=lifespan,
        # The pages of documentation would load their scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=errors.responses(),
    )
    app.state.service, app.state.readiness = service, readiness
    app.state.renderer = renderer
    app.state.gate = Gate(settings, Tokens(store), live)
    known = Depends(known_parameters)
    parts = (
        experiments, forks, events, failures, measurements, results, fisher, analysis, checkpoints,
        export, datasets, catalog, tokens, upkeep, plan, workers, webhooks, compare,
        information, pruning,
    )  # fmt: skip
    for module in parts:
        app.include_router(module.router, dependencies=[READ, known], responses=errors.refusals())
    app.include_router(health.router, dependencies=[known])
    app.include_router(page.router)
    app.include_router(documents.router)
    app.mount("/static", page.files)
    errors.install(app)
    openapi.install(app, settings.tokens_required)
    app.add_middleware(ETags)
    app.add_middleware(Heads)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestId)
    return app


def refusal(settings: Settings) -> str | None:
    """Why the service must not be started where others than this machine reach it."""
    if settings.on_loopback:
        return None
    reach = f"HUBEL_HOST is {settings.host}, which is not loopback"
    if settings.require_tokens is False:
        return (
            f"{reach}, and HUBEL_REQUIRE_TOKENS is false: whoever reaches the port could do"
            " everything. Leave it out, or set HUBEL_HOST to 127.0.0.1"
        )
    if settings.admin_token is not None:
        return None
    make = (
        "Set HUBEL_ADMIN_TOKEN, made with python3 -c 'import secrets; print(secrets.token_hex(20))'"
    )
    try:
        tokens = Tokens(Storage(settings).open())
        if any(token.state == "live" for token in tokens.all()):
            return None
    except HubelError as error:
        return f"{reach}, and whether the store holds a token is not known: {error.detail}. {make}"
    return f"{reach}, and there is no token that could be asked for. {make}"


def _settings() -> Settings:
    try:
        settings = Settings()
    except ValidationError as error:
        faults = (f"HUBEL_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        _refuse("; ".join(faults))
    reason = refusal(settings)
    if reason is not None:
        _refuse(reason)
    return settings


def _refuse(reason: str) -> NoReturn:
    print(f"The service is not started. {reason}", file=sys.stderr)
    sys.exit(NOT_CONFIGURED)


def main() -> None:
    settings = _settings()
    logs.set_up(settings.log_level, settings.log_format)
    BUILD.labels("api", version()).set(1)
    if settings.log_format == "text" and settings.log_level != "debug":  # for a person's eyes
        access.setLevel(logging.WARNING)
    raise_file_limit()
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=8,
    )
    server = Server(config)
    server.run()
    if not server.started:
        raise SystemExit(3)


if __name__ == "__main__":
    main()
