"""torchvision, also where its compiled operators cannot load.

A CPU-only torch beside the package index's torchvision, which is built for CUDA, fails to import
it: `operator torchvision::nms does not exist`. Data sets and transforms need no such operator, so
it is enough that the two names which the import mentions are there.
"""

import importlib
import sys
from types import ModuleType

import torch

_ARGUMENTS = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []
"""Kept alive, because a library takes its operators with it."""


def torchvision_datasets() -> ModuleType:
    """The module `torchvision.datasets`. Nothing is touched where the import works."""
    try:
        return importlib.import_module("torchvision.datasets")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declare_missing()
    return importlib.import_module("torchvision.datasets")


def _declare_missing() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + _ARGUMENTS)
    _declared.append(library)
