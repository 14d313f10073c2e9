"""How much of a GPU is in use, held against what torch took of it."""

import pytest
import torch

from worker import device
from worker.device_use import of_cuda

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_the_gpu_that_torch_uses_is_the_one_that_is_measured() -> None:
    before = of_cuda(device.uuid("cuda"))
    assert before is not None
    held = torch.ones(256 << 20, dtype=torch.uint8, device="cuda")
    torch.cuda.synchronize()
    after = of_cuda(device.uuid("cuda"))
    assert after is not None
    assert after.memory_used - before.memory_used >= held.numel()
    total = torch.cuda.get_device_properties(0).total_memory
    assert after.memory_total == pytest.approx(total, rel=0.05)
