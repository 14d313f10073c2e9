"""Whose fault an error of the device is."""

import pytest
import torch

from shared.errors import DeviceUnavailable
from shared.settings import Settings
from worker import device


def error(code: int | None) -> Exception:
    """As torch raises it when a CUDA call has failed."""
    made = torch.AcceleratorError("CUDA error")
    if code is not None:
        made.error_code = code
    return made


@pytest.mark.parametrize("code", [46, 100, 214, 802])
def test_a_device_or_driver_that_fails_is_the_machines_fault(code: int) -> None:
    assert device.is_at_fault(error(code))


@pytest.mark.parametrize("code", [None, 2, 700, 710, 719])
def test_what_a_kernel_did_is_the_works_own_fault(code: int | None) -> None:
    """Out of memory, an illegal address, an assertion, a launch that failed."""
    assert not device.is_at_fault(error(code))


def test_no_other_error_is_the_devices() -> None:
    assert not device.is_at_fault(ValueError("a shape that does not fit"))


def test_a_device_that_is_not_there_is_said_to_be_missing() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(DeviceUnavailable, match="HUBEL_DEVICE is cuda"):
        device.choose(Settings(device="cuda"))
