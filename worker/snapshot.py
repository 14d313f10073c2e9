"""A state of training, copied where it is, and read out beside the training that goes on."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from worker import checkpoint


class Snapshot:
    """Of a model and its optimiser. Any thread may read it: it waits for the copy, and not for the
    steps that were begun since; those wait for nobody."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, meta: dict[str, Any]
    ) -> None:
        self.model, self.optimizer = deepcopy((model.state_dict(), optimizer.state_dict()))
        self._parameters = [name for name, _ in model.named_parameters()]
        self._meta = meta
        self._copied: torch.cuda.Event | None = None
        if any(value.is_cuda for value in self.model.values()):
            self._copied = torch.cuda.Event()
            self._copied.record()

    def dump(self) -> bytes:
        """The checkpoint of this state: the bytes that `checkpoint.dump` gave of it."""
        tensors = checkpoint.named(self.model, self.optimizer, self._parameters)
        with self._aside():
            host = {name: _to_host(value) for name, value in tensors.items()}
        return checkpoint.written(host, self._meta)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """On CUDA, a stream behind the copy; ended when all that was put on it is done."""
        if self._copied is None:
            yield
            return
        stream = torch.cuda.Stream()
        stream.wait_event(self._copied)
        with torch.cuda.stream(stream):
            yield
        stream.synchronize()


def _to_host(value: Tensor) -> Tensor:
    """Into page-locked memory: a copy from there or to there does not stop other streams."""
    if not value.is_cuda:
        return value
    host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
    return host.copy_(value, non_blocking=True)
