"""The real app on a real socket, in a thread of the test's process, or settings for a process."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from api.main import create_app
from api.server import Server
from shared.settings import Settings


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The app's address."""
    config = uvicorn.Config(create_app(settings), port=0, log_config=None, lifespan="on")
    server = Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive(), "the app did not start"
        assert time.monotonic() < deadline, "the app did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


def environment(settings: Settings) -> dict[str, str]:
    """For a process of the product with these settings."""
    out = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value is not None:
            secret = getattr(value, "get_secret_value", None)
            out[f"HUBEL_{name.upper()}"] = str(secret() if secret else value)
    return {**out, "PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"}
