"""HTTP/1.1 messages as they come: every byte is kept, and it is known which are the body's."""

import asyncio
from dataclasses import dataclass, field

BODILESS = ("1", "204", "304")


@dataclass
class Message:
    head: bytes
    """First line, headers, blank line."""
    pieces: list[tuple[bytes, bool]] = field(default_factory=list)
    """The rest in order; True: of the body, False: what frames its chunks."""
    until_closed: bool = False

    @property
    def words(self) -> list[str]:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)

    @property
    def body(self) -> bytes:
        return b"".join(data for data, is_body in self.pieces if is_body)

    @property
    def raw(self) -> bytes:
        return self.head + b"".join(data for data, _ in self.pieces)

    def header(self, name: str) -> str:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.strip().lower() == name.encode():
                return value.strip().decode("latin-1").lower()
        return ""

    def with_flipped_bit(self, at: int) -> "Message":
        """Another body of the same length: one bit of its byte `at` differs."""
        pieces, seen = [], 0
        for data, is_body in self.pieces:
            if is_body and seen <= at < seen + len(data):
                changed = bytearray(data)
                changed[at - seen] ^= 1
                pieces.append((bytes(changed), True))
            else:
                pieces.append((data, is_body))
            seen += len(data) * is_body
        return Message(self.head, pieces, self.until_closed)


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message:
    """Raises EOFError where the client has no more to ask."""
    message = Message(await _head(reader))
    if message.header("expect") == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        message.head = _without(message.head, b"expect")
    await _read_body(message, reader, is_bodiless=False)
    return message


async def read_response(reader: asyncio.StreamReader, method: str) -> Message:
    message = Message(await _head(reader))
    is_bodiless = method == "HEAD" or message.words[1].startswith(BODILESS)
    message.until_closed = not is_bodiless and not _is_framed(message)
    if message.until_closed:
        message.pieces.append((await reader.read(-1), True))
    else:
        await _read_body(message, reader, is_bodiless)
    return message


async def _head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def _is_framed(message: Message) -> bool:
    return bool(message.header("content-length") or message.header("transfer-encoding"))


async def _read_body(message: Message, reader: asyncio.StreamReader, is_bodiless: bool) -> None:
    if is_bodiless:
        return
    if message.header("transfer-encoding") == "chunked":
        await _read_chunks(message, reader)
    elif length := int(message.header("content-length") or 0):
        message.pieces.append((await reader.readexactly(length), True))


async def _read_chunks(message: Message, reader: asyncio.StreamReader) -> None:
    while True:
        line = await reader.readuntil(b"\r\n")
        message.pieces.append((line, False))
        size = int(line.split(b";")[0], 16)
        if size:
            message.pieces.append((await reader.readexactly(size), True))
            message.pieces.append((await reader.readexactly(2), False))
            continue
        while line != b"\r\n":  # trailers
            line = await reader.readuntil(b"\r\n")
            message.pieces.append((line, False))
        return


def _without(head: bytes, name: bytes) -> bytes:
    lines = head.split(b"\r\n")
    return b"\r\n".join(x for x in lines if x.partition(b":")[0].strip().lower() != name)
