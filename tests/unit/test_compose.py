"""What the compose file and the images promise, read from the files."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from shared.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]


def test_the_four_processes_are_there_and_the_others_by_profile() -> None:
    profiles = {name: service.get("profiles") for name, service in SERVICES.items()}
    assert {name for name, asked in profiles.items() if not asked} == {
        "api", "worker", "redis", "minio",
    }  # fmt: skip
    assert profiles["worker-gpu"] == ["gpu"]
    assert profiles["prometheus"] == profiles["grafana"] == ["monitoring"]


def test_only_the_api_is_published_and_on_loopback_only() -> None:
    published = {name: service.get("ports") for name, service in SERVICES.items()}
    assert published.pop("api") == ["${HUBEL_BIND:-127.0.0.1}:${HUBEL_PORT:-8000}:8000"]
    assert published.pop("grafana") == ["127.0.0.1:${HUBEL_GRAFANA_PORT:-3000}:3000"]
    assert set(published.values()) == {None}


def test_every_service_is_started_again_bounded_and_watched() -> None:
    for name, service in SERVICES.items():
        assert service["restart"] == "unless-stopped", name
        assert service["read_only"] is True, name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        limits = service["deploy"]["resources"]["limits"]
        assert re.fullmatch(r"\$\{HUBEL_\w+_MEMORY:-\d+g\}", limits["memory"]), name
        assert limits["pids"] <= 512, name
        image = ROOT / f"deploy/{name.removesuffix('-gpu')}.Dockerfile"
        assert "healthcheck" in service or "HEALTHCHECK" in image.read_text(), name


def test_what_starts_waits_until_its_servers_are_healthy() -> None:
    healthy = {"condition": "service_healthy"}
    for name in ("api", "worker", "worker-gpu"):
        assert SERVICES[name]["depends_on"] == {"redis": healthy, "minio": healthy}, name


def test_a_worker_is_given_longer_to_stop_than_it_takes() -> None:
    stop = Settings.model_fields["stop_seconds"].default
    for name in ("worker", "worker-gpu"):
        assert int(SERVICES[name]["stop_grace_period"].rstrip("s")) >= 6 * stop, name


def test_a_worker_for_gpus_has_one_and_does_not_train_without_it() -> None:
    reserved = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert reserved == [
        {"driver": "nvidia", "device_ids": ["${HUBEL_GPU:-0}"], "capabilities": ["gpu"]}
    ]
    assert SERVICES["worker-gpu"]["environment"]["HUBEL_DEVICE"] == "cuda"
    assert SERVICES["worker"]["environment"]["HUBEL_DEVICE"] == "cpu"


def test_every_variable_given_to_a_process_is_a_setting() -> None:
    for name in ("api", "worker", "worker-gpu"):
        for variable in SERVICES[name]["environment"]:
            assert variable.removeprefix("HUBEL_").lower() in Settings.model_fields, variable


def test_each_further_gpu_has_a_worker_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    script = tmp_path / "deploy/gpus.sh"
    script.write_text((ROOT / "deploy/gpus.sh").read_text())
    subprocess.run(["sh", script, "3"], check=True, stdout=subprocess.DEVNULL)
    text = (tmp_path / "docker-compose.gpus.yml").read_text().replace("!override ", "")
    devices = {
        name: service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for name, service in yaml.safe_load(text)["services"].items()
    }
    assert devices == {"worker-gpu-1": ["1"], "worker-gpu-2": ["2"]}
    refused = subprocess.run(["sh", script, "many"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "COUNT is 'many'" in refused.stderr


def test_secrets_are_made_at_random_for_their_owner_and_stay_as_they_are(tmp_path: Path) -> None:
    env = tmp_path / ".env"

    def make() -> dict[str, str]:
        subprocess.run(["sh", ROOT / "deploy/env.sh", env], check=True, stdout=subprocess.DEVNULL)
        lines = [line for line in env.read_text().splitlines() if line and line[0] != "#"]
        return dict(line.split("=", 1) for line in lines)

    first = make()
    assert env.stat().st_mode & 0o777 == 0o600
    assert len(set(first.values())) == len(first) == 6
    assert all(re.fullmatch("[0-9a-f]{40}", secret) for secret in first.values())
    kept = [
        line for line in env.read_text().splitlines() if not line.startswith("HUBEL_READ_TOKEN")
    ]
    env.write_text("\n".join([*kept, "HUBEL_PORT=9000"]))  # and no line's end
    again = make()
    assert again.pop("HUBEL_READ_TOKEN") != first["HUBEL_READ_TOKEN"]
    assert again.pop("HUBEL_PORT") == "9000"
    assert again.items() <= first.items()


def test_byte_code_in_images_is_compiled_by_content_and_in_one_order() -> None:
    """By time, or with sets in another order, no two builds would be alike."""
    for name in ("api", "worker"):
        text = (ROOT / f"deploy/{name}.Dockerfile").read_text()
        assert "PYTHONHASHSEED=0" in text
        compiled = re.findall("compileall .*", text)
        assert len(compiled) >= 2, name
        for line in compiled:
            assert {"-f", "unchecked-hash"} <= set(line.split()), line


def test_nothing_goes_to_an_image_that_is_not_named() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert not {"!.env", "!.git", "!deploy", "!tests"} & set(rules)


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
                 "HUBEL_ADMIN_TOKEN", "HUBEL_READ_TOKEN", "HUBEL_GRAFANA_PASSWORD"):  # fmt: skip
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
    for word in ("torch", "worker", "[local", "dev]"):
        assert word not in instructions


@pytest.mark.skipif(
    subprocess.run(
        ["sh", "-c", "docker image inspect hubel-api:latest"], capture_output=True, check=False
    ).returncode != 0,
    reason="no container engine here that has built hubel-api:latest",
)  # fmt: skip
def test_the_built_image_of_the_api_holds_no_torch_and_no_secret() -> None:
    look = (
        "import importlib.util as u, os, sys;"
        "sys.exit(any(map(u.find_spec, ('torch', 'torchvision', 'safetensors')))"
        " or os.getuid() == 0 or u.find_spec('api.main') is None)"
    )
    run = ["docker", "run", "--rm", "--network", "none", "hubel-api:latest", "python", "-c", look]
    assert subprocess.run(run, check=False).returncode == 0
    history = subprocess.run(
        ["docker", "history", "--no-trunc", "hubel-api:latest"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not re.search(r"(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])", history.stdout)


def test_no_process_runs_as_root_or_may_become_it() -> None:
    """By the image where it is ours, by the compose file where it is not."""
    for name in ("api", "worker", "store"):
        lines = (ROOT / f"deploy/{name}.Dockerfile").read_text().splitlines()
        users = [line for line in lines if line.startswith("USER ")]
        assert users[-1] == "USER 10001:10001", name
    assert SERVICES["prometheus"]["user"] == "65534:65534"
    assert SERVICES["grafana"]["user"] == "472:0"
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
