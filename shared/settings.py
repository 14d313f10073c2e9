"""Every environment variable, in one class, with the prefix HUBEL_. Read in the mains only and
passed down; there is no instance at import."""

import ipaddress
import re
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

MIN_ADMIN_TOKEN = 32


def _checked(token: SecretStr | None) -> SecretStr | None:
    """An empty one is none."""
    text = token.get_secret_value() if token else ""
    if text and not re.fullmatch(rf"[\x21-\x7e]{{{MIN_ADMIN_TOKEN},200}}", text):
        raise ValueError(
            f"has to be {MIN_ADMIN_TOKEN} to 200 printable ASCII characters without spaces: make"
            " one with python3 -c 'import secrets; print(secrets.token_hex(20))'"
        )
    return token if text else None


def _address(uri: SecretStr | None) -> SecretStr | None:
    """An empty one is none. It may hold a password."""
    text = uri.get_secret_value() if uri else ""
    if text and not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", text):
        raise ValueError("has to be http://host:port or https://..., without ? and #")
    return uri if text else None


class Settings(BaseSettings):
    # What is wrong with a secret is said without the secret.
    model_config = SettingsConfigDict(
        env_prefix="HUBEL_", extra="ignore", hide_input_in_errors=True
    )

    # Object store: the truth.
    s3_endpoint: str = Field("127.0.0.1:9000", description="host:port, without a scheme")
    s3_secure: bool = False
    s3_region: str = "us-east-1"
    s3_bucket: str = "hubel"
    s3_access_key: SecretStr = SecretStr("")
    s3_secret_key: SecretStr = SecretStr("")
    s3_public_endpoint: str | None = Field(
        None, description="scheme://host:port under which clients reach presigned links"
    )

    # Redis: advisory.
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    lease_seconds: float = Field(45, ge=2, description="a worker silent for this long has lost it")
    queued_seconds: float = Field(600, ge=5, description="how long a queue message is believed in")

    # Service.
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65_535, description="0: any free one")
    admin_token: Annotated[SecretStr | None, AfterValidator(_checked)] = Field(
        None, description="with all scopes, and not in the store"
    )
    read_token: Annotated[SecretStr | None, AfterValidator(_checked)] = Field(
        None, description="with the scope 'read', and not in the store: for dashboards"
    )
    require_tokens: bool | None = Field(None, description="null: unless the host is loopback")
    reconcile_seconds: float = Field(3, ge=0.1)
    max_attempts: int = Field(4, ge=1, description="tries at one segment before its runs fail")
    max_infrastructure_attempts: int = Field(
        20, ge=1, description="of these where a worker was killed or its machine was at fault"
    )
    retry_seconds: float = Field(
        2, ge=0, description="pause before the second try; doubles with each, up to 5 minutes"
    )
    max_body_bytes: int = Field(1 << 20, ge=1024)
    max_runs: int = Field(10_000, ge=1)
    max_epochs: int = Field(500_000, ge=1, description="of one experiment, each run by itself")
    max_device_hours: float = Field(10_000, gt=0, description="estimated, on the reference device")
    max_model_bytes: int = Field(
        16 << 30, ge=1 << 20, description="of one training step, estimated: weights, moments, batch"
    )
    max_dataset_bytes: int = Field(4 << 30, ge=1024, description="of an upload, and decoded")
    check_share: float = Field(
        0.5, gt=0, le=1, description="part of its time for which a check of the store works"
    )
    webhook_private: bool = Field(
        False, description="webhooks may lead to private addresses and to this machine too"
    )
    link_seconds: int = Field(900, ge=1, le=604_800, description="for a download to begin")

    # Mirror of results to an MLflow tracking server, made by the API process that reconciles.
    mlflow_uri: Annotated[SecretStr | None, AfterValidator(_address)] = Field(
        None, description="http(s)://[user:password@]host[:port][/path]; null: no mirror"
    )
    mlflow_experiment: str = Field("hubel", min_length=1, max_length=500)
    mlflow_token: SecretStr | None = Field(None, description="sent as a bearer token")

    # Worker.
    device: Literal["auto", "cpu", "cuda"] = "auto"
    hang_seconds: float = Field(
        600,
        ge=1,
        description="a step that takes longer ends its process; a download may, six times",
    )
    stop_seconds: float = Field(
        10,
        ge=0,
        description="after SIGTERM an epoch may still end by itself; then the one before is kept",
    )
    store_patience_seconds: float = Field(
        600,
        ge=0,
        le=1800,
        description="how long what was trained waits for a store that is away; less than the hour"
        " within which nothing is collected",
    )
    cuda_graphs: bool = Field(
        False, description="on CUDA a training step is one graph: the same bits, fewer launches"
    )
    threads: int = Field(1, ge=1, le=256, description="CPU threads; part of the numerics class")
    data_dir: Path = Field(Path("data"), description="where torchvision's data sets are or go")
    allow_download: bool = True
    scratch_dir: Path | None = Field(None, description="for files in passing; null: the system's")

    metrics_host: str = Field("127.0.0.1", description="where a worker shows its metrics")
    metrics_port: int = Field(0, ge=0, le=65_535, description="of a worker; 0: it shows none")

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "text"] = "json"

    @property
    def scratch(self) -> Path:
        return self.scratch_dir or Path(gettempdir())

    @property
    def on_loopback(self) -> bool:
        """Only this machine reaches the service. A name that merely resolves to loopback today is
        not taken for it."""
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def tokens_required(self) -> bool:
        return not self.on_loopback if self.require_tokens is None else self.require_tokens
