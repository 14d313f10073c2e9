"""Every network on offer, as a key has it: with its defaults, but for fields that came later."""

from pydantic import TypeAdapter

from shared import spec
from worker.models import MODELS

EVERY = [
    *({"name": name} for name in MODELS),
    {"name": "all_cnn", "blocks": 8},
    {"name": "all_cnn", "head": "batchnorm_relu"},
    {"name": "all_cnn", "blocks": 8, "head": "batchnorm_relu"},
    {"name": "depth_cnn", "n": 3},
    {"name": "deep_linear", "depth": 1},
]


def asked(name, width=1.0, **fields):
    body = {"name": name, "width": width, **fields}
    return TypeAdapter(spec.Model).validate_python(body)


def named(name, width=1.0, **fields):
    return asked(name, width, **fields).keyed()
