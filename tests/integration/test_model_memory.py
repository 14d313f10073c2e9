"""What would not fit into any worker's memory is refused when it is submitted."""

import io
from typing import Any

import httpx
import numpy as np
import pytest

pytestmark = pytest.mark.services


def refusal(http: httpx.Client, **parts: Any) -> dict[str, Any]:
    body = {"training": {"epochs": 1}, "dataset": {"name": "gratings"}} | parts
    answer = http.post("/v1/experiments", params={"dry_run": "true"}, json=body)
    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["errors"]
    return dict(fault)


def test_a_network_that_is_too_large_for_its_images_is_refused(http: httpx.Client) -> None:
    """MLP of width 8 on 256x256x3: the first layer alone has 3.9 thousand million weights."""
    file, images = io.BytesIO(), np.zeros((4, 256, 256, 3), np.uint8)
    labels = np.arange(4) % 2
    np.savez_compressed(
        file, train_images=images, train_labels=labels, test_images=images, test_labels=labels
    )
    assert http.put("/v1/datasets/large", content=file.getvalue()).status_code == 201
    fault = refusal(http, dataset={"name": "large"}, model={"name": "mlp", "width": 8})
    assert fault["pointer"] == "/model"
    assert fault["code"] == "over-the-limit"
    for word in ("256x256x3", "width 8", "91 GB", "74 GB more", "HUBEL_MAX_MODEL_BYTES"):
        assert word in fault["message"], fault


def test_a_batch_that_is_too_large_is_refused_and_a_small_data_set_makes_it_small(
    http: httpx.Client,
) -> None:
    training = {"epochs": 1, "batch_size": 65_536}
    cifar = {"name": "cifar10", "train_samples": 50_000}
    fault = refusal(http, training=training, dataset=cifar, model={"name": "all_cnn"})
    assert "a batch of 50000" in fault["message"]
    body = {"training": training, "dataset": cifar | {"train_samples": 500}}
    answer = http.post("/v1/experiments", params={"dry_run": "true"}, json=body)
    assert answer.status_code == 200


def test_every_figure_of_the_paper_at_its_own_size_fits(http: httpx.Client) -> None:
    for preset in http.get("/v1/presets").json()["presets"]:
        body = {"preset": preset["name"], "scale": "paper"}
        answer = http.post("/v1/experiments", params={"dry_run": "true"}, json=body)
        assert answer.status_code == 200, (preset["name"], answer.text)
