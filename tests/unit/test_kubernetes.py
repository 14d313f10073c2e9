"""What the manifests promise, read from what kustomize makes of them."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from api import meters
from shared import storage
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
KUBECTL = Path(sys.executable).parent / "kubectl"
SECRETS = {
    "HUBEL_REDIS_URL", "HUBEL_S3_ACCESS_KEY", "HUBEL_S3_SECRET_KEY", "HUBEL_ADMIN_TOKEN",
    "HUBEL_READ_TOKEN",
}  # fmt: skip
OLDEST = "1.29"
"""Of Kubernetes, as README.md says."""
Manifest = dict[str, Any]


def fields(required: str = "", **of_each: Any) -> Manifest:
    """A schema of an object that has these fields and no other."""
    return {
        "type": "object", "additionalProperties": False, "required": required.split(),
        "properties": of_each,
    }  # fmt: skip


def one_of(*words: str) -> Manifest:
    return {"enum": list(words)}


def several(what: Manifest) -> Manifest:
    return {"type": "array", "minItems": 1, "items": what}


TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
KEY = fields("name key", name=TEXT, key=TEXT)
SCRAPED = fields(
    "port", port=TEXT, path=TEXT, authorization=fields("credentials", type=TEXT, credentials=KEY)
)
SELECTOR = fields("matchLabels", matchLabels=TEXTS)
CUSTOM = {
    "ScaledObject": fields(
        "scaleTargetRef triggers",
        scaleTargetRef=fields("name", name=TEXT),
        minReplicaCount=NUMBER, maxReplicaCount=NUMBER,
        pollingInterval=NUMBER, cooldownPeriod=NUMBER,
        fallback=fields(
            "failureThreshold replicas", failureThreshold=NUMBER, replicas=NUMBER,
            behavior=one_of(
                "static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"
            ),
        ),
        advanced=fields(horizontalPodAutoscalerConfig=fields(
            behavior=fields(scaleDown=fields(stabilizationWindowSeconds=NUMBER)),
        )),
        triggers=several(fields(
            "type metadata", type=TEXT, metadata=TEXTS, metricType=one_of("AverageValue", "Value"),
        )),
    ),
    "ServiceMonitor": fields(
        "selector endpoints", jobLabel=TEXT, selector=SELECTOR,
        endpoints=several(SCRAPED),
    ),
    "PodMonitor": fields(
        "selector podMetricsEndpoints", jobLabel=TEXT, selector=SELECTOR,
        podMetricsEndpoints=several(SCRAPED),
    ),
}  # fmt: skip
"""What is used of custom resources, by the documentation of KEDA 2.18 and the Prometheus operator:
their schemas come with them and not with Kubernetes."""

pytestmark = pytest.mark.skipif(
    not KUBECTL.exists() and not os.environ.get("CI"), reason="no kubectl for this platform"
)


def built(folder: Path) -> list[Manifest]:
    done = subprocess.run(
        [KUBECTL, "kustomize", folder], capture_output=True, text=True, check=True, timeout=60
    )
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def manifests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """An overlay with every component."""
    every = tmp_path_factory.mktemp("every")
    subprocess.run(["cp", "-r", FOLDER, every], check=True)
    overlay = every / "kubernetes/overlays" / request.param / "kustomization.yaml"
    overlay.write_text(re.sub(r"^  # - ", "  - ", overlay.read_text(), flags=re.MULTILINE))
    return request.param, built(overlay.parent)


def of(found: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in found if one["kind"] == kind}


def pods(found: list[Manifest]) -> dict[str, Manifest]:
    """Templates, by the name of what makes them."""
    makers = of(found, "Deployment") | of(found, "Job")
    return {name: one["spec"]["template"] for name, one in makers.items()}


def covers(selector: Manifest, pod: Manifest) -> bool:
    labels = pod["metadata"]["labels"]
    among = selector.get("matchExpressions", [])
    assert all(one["operator"] == "In" for one in among)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in among
    )


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
def test_every_field_is_one_that_its_kind_has(manifests, version: str) -> None:
    """Also of what an overlay leaves out, and in the oldest Kubernetes that the page names."""
    for one in manifests[1]:
        if one["kind"] in CUSTOM:
            jsonschema.validate(one["spec"], CUSTOM[one["kind"]])
        else:
            kubernetes_validate.validate(one, version, strict=True)
    assert {one["kind"] for one in manifests[1]} >= CUSTOM.keys()
    assert f"Kubernetes {OLDEST} or newer" in (FOLDER / "README.md").read_text()


def test_no_pod_runs_as_root_or_may_become_it_or_has_rights(manifests) -> None:
    _, found = manifests
    assert pods(found).keys() == {"hubel-api", "hubel-worker", "hubel-smoke"}
    for name, pod in pods(found).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] == 10001, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"memory", "ephemeral-storage"} <= container["resources"]["limits"].keys(), name
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name


def test_every_folder_that_is_written_to_is_bounded(manifests) -> None:
    for name, pod in pods(manifests[1]).items():
        for volume in pod["spec"].get("volumes", []):
            assert volume["emptyDir"]["sizeLimit"], (name, volume)


def test_a_worker_is_given_longer_to_stop_than_it_takes(manifests) -> None:
    _, found = manifests
    worker = pods(found)["hubel-worker"]["spec"]
    stop = float(config(found)["HUBEL_STOP_SECONDS"])
    unanswered = 3 * (storage.CONNECT_SECONDS + storage.READ_SECONDS)
    slowly_stored = 30
    assert worker["terminationGracePeriodSeconds"] >= stop + unanswered + slowly_stored
    assert worker["terminationGracePeriodSeconds"] <= 600  # what a cluster autoscaler waits for
    assert of(found, "Deployment")["hubel-worker"]["spec"]["strategy"]["rollingUpdate"] == {
        "maxSurge": 0, "maxUnavailable": 1,
    }  # fmt: skip


def test_no_probe_restarts_a_worker_that_waits_for_redis(manifests) -> None:
    """Its port is shut as long as Redis has not answered."""
    worker = container(manifests[1], "hubel-worker")
    probes = {name: one for name, one in worker.items() if name.endswith("Probe")}
    assert probes.keys() == {"readinessProbe"}
    assert probes["readinessProbe"]["tcpSocket"] == {"port": "metrics"}


def test_two_of_the_largest_uploads_fit_at_a_time(manifests) -> None:
    """Each as it came, and decoded."""
    spec = pods(manifests[1])["hubel-api"]["spec"]
    sizes = {one["name"]: gibibytes(one["emptyDir"]["sizeLimit"]) for one in spec["volumes"]}
    assert sizes["scratch"] * 2**30 >= 2 * 2 * Settings().max_dataset_bytes
    limit = spec["containers"][0]["resources"]["limits"]["ephemeral-storage"]
    assert gibibytes(limit) > sizes["scratch"]


def gibibytes(quantity: str) -> float:
    number, unit = quantity[:-2], quantity[-2:]
    return float(number) / {"Gi": 1, "Mi": 1024}[unit]


def test_the_api_is_probed_and_one_of_it_always_there(manifests) -> None:
    _, found = manifests
    (container,) = pods(found)["hubel-api"]["spec"]["containers"]
    paths = {p: container[p]["httpGet"]["path"] for p in container if p.endswith("Probe")}
    assert paths == {
        "startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz",
    }  # fmt: skip
    budget = of(found, "PodDisruptionBudget")["hubel-api"]["spec"]
    assert budget["minAvailable"] == 1
    # Without the store none is ready, and nodes are drained all the same.
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert covers(budget["selector"], pods(found)["hubel-api"])
    assert of(found, "Deployment")["hubel-api"]["spec"]["replicas"] == 2


def test_selectors_find_the_pods_that_they_mean(manifests) -> None:
    _, found = manifests
    for name, one in of(found, "Deployment").items():
        assert covers(one["spec"]["selector"], pods(found)[name])
    service = of(found, "Service")["hubel-api"]["spec"]
    assert covers({"matchLabels": service["selector"]}, pods(found)["hubel-api"])
    ports = {p["name"]: p["containerPort"] for p in container(found, "hubel-api")["ports"]}
    assert ports[service["ports"][0]["targetPort"]] == service["ports"][0]["port"] == 8000


def container(found: list[Manifest], name: str) -> Manifest:
    (one,) = pods(found)[name]["spec"]["containers"]
    return dict(one)


def test_nothing_reaches_a_pod_or_is_reached_by_it_but_what_is_named(manifests) -> None:
    _, found = manifests
    policies = of(found, "NetworkPolicy")
    closed = policies["hubel-nothing"]["spec"]
    assert closed["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & closed.keys()
    for name, pod in pods(found).items():
        assert covers(closed["podSelector"], pod), name
    opened = {
        name: {p["port"] for rule in one["spec"].get("ingress", []) for p in rule["ports"]}
        for name, one in policies.items()
    }
    assert opened == {
        "hubel-nothing": set(), "hubel-to-names": set(), "hubel-to-servers": set(),
        "hubel-downloads": set(), "hubel-smoke": set(), "hubel-outward": set(),
        "hubel-to-api": {8000}, "hubel-to-workers": {9464},
    }  # fmt: skip
    for name, one in policies.items():
        assert any(covers(one["spec"]["podSelector"], pod) for pod in pods(found).values()), name
        for rule in one["spec"].get("ingress", []):
            assert rule["from"], name


def test_each_pod_gets_out_to_what_it_needs_alone(manifests) -> None:
    _, found = manifests
    allowed = {
        name: {
            port["port"]
            for one in of(found, "NetworkPolicy").values()
            if covers(one["spec"]["podSelector"], pod)
            for rule in one["spec"].get("egress", [])
            for port in rule["ports"]
        }
        for name, pod in pods(found).items()
    }
    assert allowed == {
        "hubel-api": {53, 6379, 9000, 443, 80, 5000}, "hubel-worker": {53, 6379, 9000, 443, 80},
        "hubel-smoke": {53, 8000},
    }  # fmt: skip
    for name in ("hubel-downloads", "hubel-outward"):
        internet = of(found, "NetworkPolicy")[name]["spec"]["egress"][0]
        assert {"10.0.0.0/8", "169.254.0.0/16"} <= set(internet["to"][0]["ipBlock"]["except"])


def config(found: list[Manifest]) -> dict[str, str]:
    (one,) = of(found, "ConfigMap").values()
    return dict(one["data"])


def test_every_variable_is_a_setting_and_no_secret_is_committed(manifests) -> None:
    _, found = manifests
    given = set(config(found))
    for name in ("hubel-api", "hubel-worker"):
        given |= {one["name"] for one in container(found, name).get("env", [])}
    for variable in given | SECRETS:
        assert variable.removeprefix("HUBEL_").lower() in Settings.model_fields, variable
    assert not of(found, "Secret")
    assert not SECRETS & set(config(found))


def test_a_worker_is_given_what_it_needs_and_nothing_that_opens_the_api(manifests) -> None:
    _, found = manifests
    worker = container(found, "hubel-worker")
    asked = {one["valueFrom"]["secretKeyRef"]["key"] for one in worker["env"] if "valueFrom" in one}
    assert asked == {"HUBEL_REDIS_URL", "HUBEL_S3_ACCESS_KEY", "HUBEL_S3_SECRET_KEY"}
    assert [one for one in worker["envFrom"] if "secretRef" in one] == []


def test_each_overlay_has_its_device(manifests) -> None:
    overlay, found = manifests
    worker = container(found, "hubel-worker")
    device = next(one["value"] for one in worker["env"] if one["name"] == "HUBEL_DEVICE")
    limits = worker["resources"]["limits"]
    if overlay == "gpu":
        assert device == "cuda"
        assert limits["nvidia.com/gpu"] == "1"
        assert "hubel-worker-cuda:" in worker["image"]
    else:
        assert device == "cpu"
        assert limits["cpu"] == config(found)["HUBEL_THREADS"]
        assert "nvidia.com/gpu" not in limits


def test_workers_are_scaled_by_work_that_waits_or_is_under_way(manifests) -> None:
    _, found = manifests
    scaled = of(found, "ScaledObject")["hubel-worker"]["spec"]
    assert scaled["scaleTargetRef"]["name"] in of(found, "Deployment")
    assert "replicas" not in of(found, "Deployment")["hubel-worker"]["spec"]
    assert scaled["minReplicaCount"] == 0
    (trigger,) = scaled["triggers"]
    assert trigger["type"] == "prometheus"
    assert set(trigger["metadata"]) == {
        "serverAddress", "query", "threshold", "ignoreNullValues",
    }  # fmt: skip
    query = trigger["metadata"]["query"]
    (family,) = meters.SEGMENTS.collect()
    assert query == f'sum(max by (state) ({family.name}{{state=~"queued|running"}}))'
    # No data is no zero, and an outage of Prometheus no reason to stop anybody.
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert scaled["fallback"]["behavior"] == "currentReplicasIfHigher"


def test_prometheus_is_told_where_and_with_which_token(manifests) -> None:
    _, found = manifests
    (api,) = of(found, "ServiceMonitor")["hubel-api"]["spec"]["endpoints"]
    assert api["authorization"]["credentials"] == {
        "name": "hubel-secrets", "key": "HUBEL_READ_TOKEN",
    }  # fmt: skip
    (worker,) = of(found, "PodMonitor")["hubel-worker"]["spec"]["podMetricsEndpoints"]
    ports = {p["name"]: p["containerPort"] for p in container(found, "hubel-worker")["ports"]}
    assert ports[worker["port"]] == 9464


def test_the_images_are_those_that_compose_builds(manifests) -> None:
    _, found = manifests
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    ours = {str(one["image"]).split(":")[0] for one in services.values()}
    for name in pods(found):
        image = container(found, name)["image"].rsplit("/", 1)[-1].split(":")[0]
        assert image in ours, name
