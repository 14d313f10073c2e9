"""Training: a model, its optimiser and the data set on one device, an epoch at a time."""

import os
from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shared.arrays import Arrays
from worker import augmentation, checkpoint, deficits, fixed, precision, regularisers, rng
from worker.fixed import Fixed, Show
from worker.graph import Record, Recorded, Step
from worker.held import on
from worker.models import build
from worker.regularisers import Settings
from worker.snapshot import Snapshot

# cuBLAS reads it when CUDA starts; without it its matrix products are not deterministic.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

EVALUATION_BATCH = 500

Tick = Callable[[], None]


def be_deterministic() -> None:
    """The same bits every time on the same kind of device, and no TF32 in float32."""
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory finds reads of uninitialised values; there are none, and it costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    precision.in_ieee()


class Trainer:
    """Training as a pure function: the state after an epoch depends on the state before it, the
    config, the epoch's number, its stimulus and its learning rate.

    After an exception from `tick` the state is undefined until the next `load`.
    """

    def __init__(
        self,
        config: dict[str, Any],
        arrays: Arrays,
        device: str = "cpu",
        record: Record | None = None,
    ) -> None:
        """record: how a step is recorded to be replayed, where it is to be (`worker/graph.py`)."""
        be_deterministic()
        self.config, self.device = config, torch.device(device)
        dataset = config["dataset"]
        self.shape: tuple[int, int, int] = tuple(dataset["shape"])
        self.classes: int = dataset["classes"]
        self.seed: int = config["seed"]
        held = on(self.device, arrays)
        self.images, self.labels = held.images, held.labels
        for images in self.images.values():
            self._check_shape(images)
        for split, labels in self.labels.items():
            if len(labels) != dataset[f"{split}_samples"]:
                raise ValueError(
                    f"{len(labels)} {split} images, {dataset[f'{split}_samples']} in the config"
                )
        mean, std = (torch.tensor(dataset[name]) for name in ("mean", "std"))
        self._mean, self._std = (part.view(-1, 1, 1).to(self.device) for part in (mean, std))
        # As large as an image: in channels_last a short last dimension is not worked on in vectors.
        self._scale, self._offset = (
            part.expand(self.shape).contiguous().to(self.device)
            for part in (1 / (255 * std), -mean / std)
        )
        self._fixed = Fixed()
        self._record = record
        self._recorded: tuple[object, Recorded] | None = None
        """With all that it depends on."""
        # A float would be part of what is recorded. Without a recording too: the same bits.
        self._rate = torch.zeros((), device=self.device) if self.device.type == "cuda" else None
        self.hold: Callable[[], None] | None = None
        """Called between the backward pass and the step: what keeps pruned weights at 0."""
        self.earlier: Callable[[Trainer, int], Trainer] = _nowhere
        """Of a trainer one beside it, in the run's state after fewer epochs."""
        self._usual = self._settings()
        self.load(None)

    def _settings(self) -> Settings:
        return Settings(
            seed=self.seed,
            weight_decay=self.config["optimizer"]["weight_decay"],
            augmentation=self.config["augmentation"],
            images=torch.arange(len(self.labels["train"])),
        )

    def adopt(self, config: dict[str, Any]) -> None:
        """Train on under a config in which the batches, the augmentation or the optimiser's numbers
        are others. Without momentum, none is kept for a time when there may be some again."""
        if config == self.config:
            return
        self.config = config
        self._usual = self._settings()
        optimizer = config["optimizer"]
        if "momentum" in optimizer:
            if optimizer["momentum"] == 0:
                self.forget_momentum()
            for group in self.optimizer.param_groups:
                group["momentum"] = optimizer["momentum"]

    def load(self, data: bytes | None) -> None:
        """Go to a checkpoint's state; None: to the initial state of the config's seed."""
        model = build(self.config["model"], self.shape, self.classes, self.seed)
        model = model.to(self.device)
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.hold = None
        self.forget_momentum()
        if data is not None:
            checkpoint.restore(self.model, self.optimizer, data)

    def forget_momentum(self) -> None:
        """An optimiser that has made no step yet: without momentum or moments."""
        self.optimizer = _optimizer(self.model, self.config["optimizer"])

    def beside(self) -> "Trainer":
        """Another one with the same images, at the initial state."""
        other = copy(self)
        other._recorded = None
        other.load(None)
        return other

    def remember(self) -> Snapshot:
        """This state, whatever is trained from here on.
        All-CNN 2.5 ms, ResNet-18 60 ms (one core); to make a checkpoint instead took 22 and 180."""
        self.optimizer.zero_grad(set_to_none=True)  # as the next step begins
        return Snapshot(self.model, self.optimizer, self._about())

    def checkpoint(self) -> bytes:
        """All that a later resume needs; the same bytes for the same state."""
        return checkpoint.dump(self.model, self.optimizer, self._about())

    def _about(self) -> dict[str, Any]:
        about = {name: self.config["dataset"][name] for name in ("shape", "classes", "mean", "std")}
        meta = {"dataset": about, "model": self.config["model"]}
        return meta | {"optimizer": self.config["optimizer"]}

    def train_epoch(
        self, epoch: int, stimulus: deficits.Stimulus, learning_rate: float, tick: Tick
    ) -> dict[str, float]:
        """One pass over the training images (under "partial_data": over its share of them), then an
        evaluation.

        `train_loss` and `train_accuracy` are means over the images as they were trained on:
        under the stimulus, augmented, with the weights of their step. A run that diverges gives
        nan, not an error, and `diverged_at_step`: the first step of this epoch, counted from 1,
        whose loss was not finite.
        """
        settings = regularisers.settings_of(stimulus, self._usual)
        self._set(learning_rate, settings.weight_decay)
        with precision.rounding(self.config["precision"]):
            trained = self._pass(epoch, stimulus, settings, tick)
        return trained | {"learning_rate": learning_rate} | self.evaluate(tick)

    def _set(self, learning_rate: float, weight_decay: float) -> None:
        rate: float | Tensor = learning_rate
        if self._rate is not None and isinstance(self.optimizer, torch.optim.SGD):
            rate = self._rate.fill_(learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"], group["weight_decay"] = rate, weight_decay

    def _pass(
        self, epoch: int, stimulus: deficits.Stimulus, settings: Settings, tick: Tick
    ) -> dict[str, float]:
        """Nothing here waits for the device before the last step is under way."""
        self.model.train()
        augmented, show = deficits.augmentable(stimulus), self._shows(stimulus, epoch)
        step = self._step_of_epoch()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        finite = torch.zeros((), dtype=torch.int64, device=self.device)
        seen = steps = 0
        for indices, moves in self._batches(epoch, settings):
            tick()
            images, labels = show(indices)
            if augmented and moves is not None:
                images = augmentation.augment(images, moves, settings.augmentation["shift"])
            sums += step(images, labels)
            # Once the sum is not finite, it stays so. Counted on the device: no waiting for it.
            finite += torch.isfinite(sums[0])
            seen, steps = seen + len(labels), steps + 1
        loss, correct = (sums / seen).tolist()
        diverged = {} if finite == steps else {"diverged_at_step": int(finite) + 1}
        return {"train_loss": loss, "train_accuracy": correct} | diverged

    def _shows(self, stimulus: deficits.Stimulus, epoch: int) -> Show:
        """How an epoch's batches are made."""

        def show(indices: Tensor) -> deficits.Batch:
            return self.show("train", indices, stimulus, epoch)

        count = len(self.labels["train"])
        if not fixed.is_worth_it(stimulus, 4 * self.images["train"].numel()):
            self._fixed.forget()
            return show
        return self._fixed.of(stimulus, count, self.device, show)

    def _step_of_epoch(self) -> Step:
        """A step, recorded where nothing that it depends on is another one at each step or epoch:
        of Adam the count of steps is, and of a pruned network what it holds."""
        sgd = isinstance(self.optimizer, torch.optim.SGD)
        if self._record is None or self.hold is not None or not sgd:
            return self._step
        group = self.optimizer.param_groups[0]
        about = (self.model, self.optimizer, group["weight_decay"], group["momentum"])
        if self._recorded is None or self._recorded[0] != about:
            self._recorded = None  # not two of them at once
            self._recorded = about, Recorded(self._record)
        return partial(self._recorded[1], self._step)

    def _step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One step of the optimiser; (2,) float64: summed loss, number of right answers."""
        logits = self._logits(images)
        loss = F.cross_entropy(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.hold is not None:
            self.hold()
        self.optimizer.step()
        return _sums(loss.detach(), logits, labels)

    def _logits(self, images: Tensor) -> Tensor:
        with precision.autocast(self.config["precision"], self.device):
            logits: Tensor = self.model(images)
        return logits.float()

    def evaluate(self, tick: Tick) -> dict[str, float]:
        """Loss and accuracy on the clean test images, BatchNorm with its running statistics."""
        self.model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.device)
        everything = torch.arange(len(self.labels["test"]), device=self.device)
        with torch.inference_mode(), precision.rounding(self.config["precision"]):
            for indices in everything.split(EVALUATION_BATCH):
                tick()
                images, labels = self.show("test", indices, [], 0)
                logits = self._logits(images)
                sums += _sums(F.cross_entropy(logits, labels), logits, labels)
        loss, accuracy = (sums / len(everything)).tolist()
        return {"test_loss": loss, "test_accuracy": accuracy}

    def show(
        self, split: str, indices: Tensor, stimulus: deficits.Stimulus, epoch: int
    ) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) float32, normalised, under a stimulus, and their labels (B,).

        indices (B,) int64 on the device. Not augmented. In channels_last memory format, unless a
        deficit gives another.
        """
        pixels = self.images[split].index_select(0, indices).float()
        images = pixels.mul_(self._scale).add_(self._offset).permute(0, 3, 1, 2)
        labels = self.labels[split][indices]
        context = deficits.Context(
            self.seed,
            epoch,
            self.classes,
            indices,
            self.labels[split],
            self._mean,
            self._std,
            split,
        )
        return deficits.show(stimulus, images, labels, context)

    def _batches(
        self, epoch: int, settings: Settings
    ) -> Iterator[tuple[Tensor, augmentation.Moves | None]]:
        """Indices of each batch, with its rows, columns and flips if there is augmentation.

        The last batch may be smaller. If it were a single image it is left out: BatchNorm cannot
        train on one value per channel.
        """
        count, size = len(settings.images), self.config["batch_size"]
        order = torch.randperm(count, generator=rng.generator(self.seed, "shuffle", epoch))
        used = count - 1 if count > size > 1 and count % size == 1 else count
        batches = settings.images[order[:used]].to(self.device).split(size)
        moving = settings.augmentation
        if not moving["shift"] and not moving["horizontal_flip"]:
            yield from ((batch, None) for batch in batches)
            return
        drawn = augmentation.draw(moving, self.seed, epoch, used)
        moves = zip(*(part.to(self.device).split(size) for part in drawn), strict=True)
        yield from zip(batches, map(augmentation.Moves._make, moves), strict=True)

    def _check_shape(self, images: Tensor) -> None:
        if tuple(images.shape[1:]) != self.shape:
            raise ValueError(f"images of {tuple(images.shape[1:])}, {self.shape} in the config")


def _nowhere(trainer: Trainer, epoch: int) -> Trainer:
    raise ValueError(f"nobody has said where the state after {epoch} epochs is stored")


def _sums(loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    correct = (logits.argmax(1) == labels).sum()
    return torch.stack([loss.double() * len(labels), correct.double()])


def _optimizer(model: nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
    """Weight decay acts on every parameter, BatchNorm's and biases too, as torch has it. It and the
    learning rate are set at each epoch. Fused: one kernel for all parameters."""
    rate, decay = settings["learning_rate"], settings["weight_decay"]
    if settings["name"] == "sgd":
        return torch.optim.SGD(
            model.parameters(), rate, settings["momentum"], weight_decay=decay, fused=True
        )
    betas = (settings["beta1"], settings["beta2"])
    return torch.optim.Adam(
        model.parameters(), rate, betas, settings["epsilon"], weight_decay=decay, fused=True
    )
