"""What the compose file and the images promise, read from the files."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]


def test_the_four_processes_are_there() -> None:
    assert set(SERVICES) == {"api", "worker", "redis", "minio"}


def test_only_the_api_is_published_and_on_loopback_only() -> None:
    published = {name: service.get("ports") for name, service in SERVICES.items()}
    assert published.pop("api") == ["127.0.0.1:${HUBEL_PORT:-8000}:8000"]
    assert set(published.values()) == {None}


def test_the_servers_are_reached_from_inside_only() -> None:
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("redis", "minio"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_redis_keeps_its_file_and_evicts_nothing() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    for words in ("--appendonly yes", "--maxmemory-policy noeviction", "requirepass"):
        assert words in command


def test_no_secret_has_a_default_and_each_is_in_the_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / "deploy/env.example").read_text()
    for name in ("HUBEL_S3_ACCESS_KEY", "HUBEL_S3_SECRET_KEY", "HUBEL_REDIS_PASSWORD"):
        uses = re.findall(rf"\$\{{{name}[^}}]*\}}", text)
        assert uses
        assert all(use.startswith(f"${{{name}:?") for use in uses), uses
        assert f"\n{name}=\n" in example


def test_every_variable_of_the_compose_file_is_in_the_example() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    example = (ROOT / "deploy/env.example").read_text()
    for name in set(re.findall(r"\$\{(\w+)", text)):
        assert re.search(rf"^#?{name}=", example, re.MULTILINE), name


def test_the_image_of_the_store_is_one_variable_with_a_pinned_default() -> None:
    image = SERVICES["minio"]["image"]
    assert re.fullmatch(r"\$\{HUBEL_STORE_IMAGE:-[\w./-]+:RELEASE\.[\dTZ-]+\}", image)


def test_the_image_of_the_api_holds_no_torch() -> None:
    lines = (ROOT / "deploy/api.Dockerfile").read_text().splitlines()
    instructions = "\n".join(line for line in lines if not line.startswith("#"))
    assert "'.[api]'" in instructions
    for word in ("torch", "worker", "local", "dev]"):
        assert word not in instructions


def test_no_image_runs_as_root() -> None:
    for name in ("api", "worker"):
        assert re.search(r"^USER 10001$", (ROOT / f"deploy/{name}.Dockerfile").read_text(), re.M)
