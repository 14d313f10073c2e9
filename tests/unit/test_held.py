"""A data set is brought to a device once, and let go with its arrays."""

import gc
import weakref

import pytest
import torch

from worker import gratings, held

CPU = torch.device("cpu")


def test_whoever_trains_on_the_same_arrays_is_given_the_same_tensors() -> None:
    arrays, others = gratings.generate(8, 4), gratings.generate(8, 4)
    first = held.on(CPU, arrays)
    assert first is held.on(CPU, arrays)
    assert first is not held.on(CPU, others)
    for split, images in (("train", arrays.train_images), ("test", arrays.test_images)):
        assert torch.equal(first.images[split], torch.from_numpy(images))


def test_what_is_no_longer_held_in_memory_is_not_held_on_the_device_either() -> None:
    arrays = gratings.generate(8, 4)
    images = weakref.ref(held.on(CPU, arrays).images["train"])
    assert images() is not None
    del arrays
    gc.collect()
    assert images() is None


def test_images_of_another_shape_than_the_config_says_are_refused() -> None:
    from test_train import config

    from worker.train import Trainer

    asked = config()
    asked["dataset"]["shape"] = [8, 8, 1]
    with pytest.raises(ValueError, match=r"\(16, 16, 1\)"):
        Trainer(asked, gratings.generate(8, 4))
