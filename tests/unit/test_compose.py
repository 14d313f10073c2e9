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
    for name in ("HUBEL_S3_ACCESS_KEY", "HUBEL_S3_SECRET_KEY", "HUBEL_REDIS_PASSWORD",
                 "HUBEL_ADMIN_TOKEN"):  # fmt: skip
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
    image = SERVICES["minio"]["build"]["args"]["STORE_IMAGE"]
    assert re.fullmatch(r"\$\{HUBEL_STORE_IMAGE:-[\w./-]+:RELEASE\.[\dTZ-]+\}", image)


def test_the_image_of_the_api_holds_no_torch() -> None:
    lines = (ROOT / "deploy/api.Dockerfile").read_text().splitlines()
    instructions = "\n".join(line for line in lines if not line.startswith("#"))
    assert "'.[api]'" in instructions
    for word in ("torch", "worker", "local", "dev]"):
        assert word not in instructions


def test_no_process_runs_as_root_or_may_become_it() -> None:
    """By the image where it is ours, by the compose file where it is not."""
    for name in ("api", "worker", "store"):
        lines = (ROOT / f"deploy/{name}.Dockerfile").read_text().splitlines()
        users = [line for line in lines if line.startswith("USER ")]
        assert re.fullmatch(r"USER 10001(:10001)?", users[-1]), name
    assert SERVICES["redis"]["user"] == "redis"
    assert SERVICES["minio"]["user"] == "10001:10001"
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "cap_add", "pid", "devices"} & set(service), name


def test_the_stores_user_owns_the_folder_that_its_volume_is_mounted_on() -> None:
    text = (ROOT / "deploy/store.Dockerfile").read_text()
    assert "chown 10001:10001 /objects" in text
    assert SERVICES["minio"]["volumes"] == ["objects:/objects"]
    assert SERVICES["minio"]["command"] == "server /objects"


def test_the_api_listens_on_a_network_and_has_an_admin_token_for_it() -> None:
    assert "HUBEL_HOST=0.0.0.0" in (ROOT / "deploy/api.Dockerfile").read_text()
    variables = {name: service.get("environment", {}) for name, service in SERVICES.items()}
    assert {n for n, given in variables.items() if "HUBEL_ADMIN_TOKEN" in given} == {"api"}
    assert not any("HUBEL_REQUIRE_TOKENS" in given for given in variables.values())
