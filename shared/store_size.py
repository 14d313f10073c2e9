"""How many bytes training adds to the store: checkpoints, metrics, and the records that make a
segment done. Arithmetic on the plan; what is measured comes on top."""

import json
from collections.abc import Sequence
from functools import cache

from shared import cost
from shared.plan import Segment
from shared.schedule import Config

FLOAT, COUNT = 4, 8
"""Bytes of a weight, a moment, a statistic; of BatchNorm's count of batches."""
SLOTS = {"sgd": 1, "adam": 3}
"""Tensors of an optimiser for each parameter: a momentum; two moments and the step."""
TENSOR, HEADER = 93, 380
"""Bytes of a checkpoint that name a tensor; of the rest of its header. safetensors 0.8."""
EPOCH, SEGMENT = 350, 850
"""Bytes of an epoch's row without its stimulus, its pointer and its time; of a manifest."""


def of(configs: Sequence[Config], segments: Sequence[Segment]) -> int:
    """Of a plan, if nothing of it turns out to be there in the meantime."""
    return sum(_segment(configs[one.config], one) for one in segments if not one.stored)


def checkpoint(config: Config) -> int:
    """One state: weights, BatchNorm's statistics, what the optimiser keeps."""
    dataset = config["dataset"]
    model, optimizer = json.dumps(config["model"]), config["optimizer"]["name"]
    return _checkpoint(model, tuple(dataset["shape"]), dataset["classes"], optimizer)


@cache
def _checkpoint(model: str, shape: cost.Shape, classes: int, optimizer: str) -> int:
    fields = json.loads(model)
    layers = list(cost.LAYERS[fields["name"]](fields, shape, classes))
    norms = [one.normed for one in layers if one.normed]
    parameters = sum(one.weights + one.biases + 2 * one.normed for one in layers)
    tensors = len(layers) + sum(one.biases > 0 for one in layers) + 2 * len(norms)
    moments = cost.MOMENTS[optimizer]
    values = parameters * (1 + moments) + 2 * sum(norms)
    values += tensors * (SLOTS[optimizer] - moments)
    named = tensors * (1 + SLOTS[optimizer]) + 3 * len(norms)
    return FLOAT * values + COUNT * len(norms) + TENSOR * named + HEADER


def _segment(config: Config, segment: Segment) -> int:
    if segment.only_measures:
        return 0
    stimuli = sum(
        (stretch.end - stretch.start) * len(json.dumps(stretch.stimulus))
        for stretch in segment.stretches
    )
    epochs = EPOCH * (segment.end - segment.start)
    return checkpoint(config) + epochs + stimuli + SEGMENT
