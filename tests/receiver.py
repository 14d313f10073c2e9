"""Somebody who is told by webhooks: a real HTTP server that verifies with the reference library."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

Head = tuple[int, dict[str, str]]


@dataclass
class Message:
    id: str
    headers: dict[str, str]
    raw: bytes
    body: Any
    """None where it does not verify."""


@dataclass
class Receiver:
    url: str = ""
    secret: str = ""
    messages: list[Message] = field(default_factory=list)
    says: Callable[[int], Head] = lambda _: (204, {})
    """From the number of messages so far, this one included."""

    @property
    def told(self) -> list[str]:
        """The type of each message, in the order in which they came."""
        return [m.body["type"] for m in self.messages]

    def take(self, headers: dict[str, str], raw: bytes) -> Head:
        try:
            body = Webhook(self.secret).verify(raw, headers) if self.secret else None
        except WebhookVerificationError:
            body = None
        self.messages.append(Message(headers["webhook-id"], headers, raw, body))
        return self.says(len(self.messages))


@contextmanager
def receiving(port: int = 0, trusted: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more = receiver.take(headers, raw)
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        if trusted is not None:
            server.socket = trusted.wrap_socket(server.socket, server_side=True)
        scheme = "http" if trusted is None else "https"
        receiver.url = f"{scheme}://127.0.0.1:{server.server_address[1]}/hook?team=vision"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join(5)
