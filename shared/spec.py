"""What a user may ask for: the experiment spec with all its validation.

Every default is written out when a spec is accepted, so that a changed default never changes
the meaning of an old experiment. To add a deficit, model, optimiser or schedule: one class here
with its `name`, added to the union below it, and one function in `worker/`. How a run is
trained stands in `training.py`.
"""

import operator
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, JsonValue, StringConstraints, model_validator

from shared.measurements import Measurements
from shared.part import Count, Epoch, Every, Part
from shared.pruning import Pruning
from shared.training import Rate, Training

DATASET_NAME = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
Label = Annotated[str, StringConstraints(min_length=1, max_length=120)]


# --- what is shown -------------------------------------------------------------------------


class Dataset(Part):
    name: Annotated[str, StringConstraints(pattern=DATASET_NAME)] = Field(
        "cifar10", description="A built-in data set (GET /v1/datasets) or one that was PUT."
    )
    train_samples: Count | None = Field(
        None, description="Train on this many images, the same ones for every seed; null: on all."
    )
    test_samples: Count | None = Field(
        None, description="Evaluate on this many test images; null: on all."
    )


class Window(Part):
    """The epochs [start, end) in which a deficit acts. `end == start` is no deficit at all."""

    start: Epoch = Field(0, description="First epoch with the deficit.")
    end: Epoch | None = Field(None, description="First epoch without it: the removal epoch.")
    length: Epoch | None = Field(None, description="Instead of `end`: the window's length.")

    @model_validator(mode="after")
    def _has_one_end(self) -> "Window":
        if (self.end is None) == (self.length is None):
            raise ValueError("give exactly one of 'end' and 'length'")
        if self.end is not None and self.end < self.start:
            raise ValueError(f"'end' ({self.end}) lies before 'start' ({self.start})")
        return self

    @property
    def epochs(self) -> range:
        end = self.start + self.length if self.length is not None else self.end
        assert end is not None
        return range(self.start, end)

    changes_images: ClassVar[bool] = True
    """False: it changes how an epoch is trained and not what an image or its label is."""
    regularises: ClassVar[bool] = False
    """True: beside a deficit it is part of the setting, and its end is no removal."""

    def stimulus(self) -> dict[str, Any]:
        """The deficit without its window: what one epoch shows, as it enters the key."""
        return self.keyed(exclude=Window.model_fields.keys())


class Blur(Window):
    """Cataract: antialiased bilinear down to `resolution` pixels a side and back up."""

    name: Literal["blur"]
    resolution: int = Field(8, ge=1, le=1024, description="Pixels a side after downsampling.")


class VerticalFlip(Window):
    """Inverting goggles: every image upside down."""

    name: Literal["vertical_flip"]


class LabelPermutation(Window):
    """One fixed permutation, drawn once per seed, never the identity."""

    ADDED = frozenset({"of"})
    name: Literal["label_permutation"]
    of: Literal["classes", "images"] = Field(
        "classes",
        description="classes: each class gets another one's name, so that only the last layer has"
        " to adapt. images: labels are dealt out among the images, which destroys what they say.",
    )


class Noise(Window):
    """Dark rearing: images replaced by white noise; labels stay."""

    ADDED = frozenset({"distribution", "augmented"})
    name: Literal["noise"]
    redraw: Literal["every_epoch", "never"] = Field(
        "every_epoch", description="Fresh noise each epoch, or one fixed noise image per image."
    )
    distribution: Literal["normal", "uniform"] = Field(
        "normal",
        description="normal: N(0, 1) after normalisation. uniform: even between black and white.",
    )
    augmented: bool = Field(
        False, description="Whether noise is shifted and flipped as images are."
    )


class LabelNoise(Window):
    """A fixed share of the images, drawn once per seed, carries a wrong label."""

    name: Literal["label_noise"]
    fraction: float = Field(0.5, gt=0, le=1, description="Share of the images, evenly wrong.")


class Contrast(Window):
    """Every image pulled towards its own mean."""

    name: Literal["contrast"]
    factor: float = Field(0.1, ge=0, lt=1, description="What is left of the contrast.")


class Greyscale(Window):
    """Colour blindness: every pixel its luma (ITU-R BT.601) in all three channels."""

    name: Literal["greyscale"]


class Occlusion(Window):
    """Scotoma: a square of each image is covered with the data set's mean colour."""

    name: Literal["occlusion"]
    size: int = Field(16, ge=1, le=1024, description="Pixels a side of the square.")
    position: Literal["centre", "random"] = Field(
        "centre", description="random: anew for each image and epoch, wholly inside the image."
    )


class OrientedFilter(Window):
    """Reared among stripes: only structure near one orientation passes, by a wedge of the Fourier
    plane; mean brightness always does."""

    name: Literal["oriented_filter"]
    passes: Literal["vertical", "horizontal"] = "vertical"
    bandwidth: float = Field(
        45, gt=0, le=90, description="Full width of the wedge of orientations, in degrees."
    )


class PartialData(Window):
    """Warm start (Ash & Adams 2020): an epoch is one pass over a fixed share of the images, drawn
    once per seed."""

    changes_images = False
    name: Literal["partial_data"]
    fraction: float = Field(0.5, gt=0, lt=1, description="Share of the training images.")


class WeightDecay(Window):
    """The regulariser's window (Golatkar et al. 2019): another weight decay in these epochs."""

    changes_images = False
    regularises = True
    name: Literal["weight_decay"]
    value: float = Field(0.0, ge=0, le=1, description="In place of the optimiser's; 0: off.")


class AugmentationWindow(Window):
    """The regulariser's window (Golatkar et al. 2019): another augmentation in these epochs."""

    changes_images = False
    regularises = True
    name: Literal["augmentation"]
    shift: int = Field(0, ge=0, le=64, description="Random shift of up to this many pixels.")
    horizontal_flip: bool = False


AnyWindow = (
    Blur
    | VerticalFlip
    | LabelPermutation
    | Noise
    | LabelNoise
    | Contrast
    | Greyscale
    | Occlusion
    | OrientedFilter
    | PartialData
    | WeightDecay
    | AugmentationWindow
)
Deficit = Annotated[AnyWindow, Field(discriminator="name")]
WINDOWS: dict[str, type[Window]] = {
    get_args(kind.model_fields["name"].annotation)[0]: kind for kind in get_args(AnyWindow)
}
NOT_OF_IMAGES = frozenset(name for name, kind in WINDOWS.items() if not kind.changes_images)
"""Names of the windows that change neither images nor labels."""
REGULARISERS = frozenset(name for name, kind in WINDOWS.items() if kind.regularises)

# --- the network ---------------------------------------------------------------------------

Width = Annotated[float, Field(gt=0, le=8, description="Factor on every hidden channel count.")]


class AllCNN(Part):
    """All-convolutional network (Springenberg et al. 2015) with the paper's nine blocks."""

    ADDED = frozenset({"blocks", "head"})
    name: Literal["all_cnn"]
    width: Width = 1.0
    blocks: Literal[9, 8] = Field(
        9,
        description="8: one 192-channel block fewer, and no BatchNorm on the 1x1 convolutions but"
        " for what `head` asks for.",
    )
    head: Literal["plain", "batchnorm_relu"] = Field(
        "plain", description="What follows the last convolution, before the mean over pixels."
    )


class ResNet18(Part):
    """Pre-activation ResNet-18 for 32x32 images."""

    name: Literal["resnet18"]
    width: Width = 1.0


class MLP(Part):
    """Fully connected 2500-2000-1500-1000-500 with BatchNorm and ReLU, as in the paper."""

    name: Literal["mlp"]
    width: Width = 1.0


class DepthCNN(Part):
    """The paper's family of growing depth: 96 - [96 * 2^(i-1), 96 * 2^i / stride 2] for i = 1..n -
    96 * 2^n, then two 1x1 convolutions."""

    name: Literal["depth_cnn"]
    n: Literal[1, 2, 3] = Field(1, description="Pairs of convolutions that halve the image.")
    width: Width = 1.0


class DeepLinear(Part):
    """Deep linear network (Saxe et al. 2013, Kleinman et al. 2024): matrices with nothing between
    them. Depth 1 is softmax regression, which is convex."""

    name: Literal["deep_linear"]
    depth: int = Field(3, ge=1, le=20, strict=True, description="Weight matrices.")
    width: Width = Field(1.0, description="Factor on the 100 hidden units.")
    initial_scale: float = Field(
        1.0, gt=0, le=100, description="Factor on torch's default initial weights."
    )


Model = Annotated[AllCNN | ResNet18 | MLP | DepthCNN | DeepLinear, Field(discriminator="name")]

# --- training: shared/training.py; measurements: shared/measurements.py ----------------------


class Checkpoints(Part):
    """Checkpoints to keep besides those at the ends of segments."""

    every: Every | None = None
    epochs: list[Epoch] = Field([], max_length=10_000)


# --- a run and an experiment ---------------------------------------------------------------


class RunSpec(Part):
    """All that shapes one run's training, but for its seed."""

    dataset: Dataset = Dataset()
    model: Model = AllCNN(name="all_cnn")
    training: Training
    deficit: Deficit | None = Field(None, description="Short form of one entry in `deficits`.")
    deficits: list[Deficit] = Field([], max_length=64, description="Windows of one timeline.")
    # Left out where nothing is pruned: specs are as they were, for earlier programs too.
    pruning: Pruning | None = Field(
        None, exclude_if=operator.not_, description="Weights that are taken away on the way."
    )

    @property
    def windows(self) -> list[AnyWindow]:
        return [self.deficit] if self.deficit is not None else self.deficits

    @property
    def removals(self) -> set[int]:
        """Epochs at which a deficit ends: of regularisers only where there is nothing else."""
        deficits = [w for w in self.windows if not w.regularises] or self.windows
        return {w.epochs.stop for w in deficits if w.epochs}

    @property
    def total_epochs(self) -> int:
        if self.training.epochs is not None:
            return self.training.epochs
        assert self.training.epochs_after_deficit is not None
        last = max((window.epochs.stop for window in self.windows), default=0)
        return last + self.training.epochs_after_deficit

    @model_validator(mode="after")
    def _timeline_holds(self) -> "RunSpec":
        if self.deficit is not None and self.deficits:
            raise ValueError("give 'deficit' or 'deficits', not both")
        if self.total_epochs < 1:
            raise ValueError("'training': no epochs: no deficit and epochs_after_deficit is 0")
        field = "deficit" if self.deficit is not None else "deficits"
        for i, window in enumerate(self.windows):
            _check_inside(window, self.total_epochs, field)
            for other in self.windows[:i]:
                _check_apart(window, other, field)
        for change in self.training.changes:
            if change.at >= self.total_epochs:
                raise ValueError(
                    f"'training': a change at epoch {change.at} comes after the run's"
                    f" {self.total_epochs} epochs"
                )
        return self

    @model_validator(mode="after")
    def _pruning_holds(self) -> "RunSpec":
        asked, total = self.pruning, self.total_epochs
        if asked is None:
            return self
        if asked.at > total:
            raise ValueError(f"'pruning': 'at' ({asked.at}) lies after the run's {total} epochs")
        if asked.last > total:
            raise ValueError(
                f"'pruning': the last of {asked.steps} steps is at epoch {asked.last}, after the"
                f" run's {total} epochs: give fewer, closer together, or a longer run"
            )
        if asked.granularity == "channels" and getattr(self.model, "depth", 2) == 1:
            raise ValueError(
                "'pruning': this network has its last layer alone, whose outputs are the classes:"
                " there are no channels to take away; give granularity weights"
            )
        return self


def _check_inside(window: Any, total: int, field: str) -> None:
    if window.epochs.stop > total:
        raise ValueError(
            f"'{field}': the {window.name} window [{window.start}, {window.epochs.stop}) ends after"
            f" the run's {total} epochs"
        )


def _check_apart(one: Any, other: Any, field: str) -> None:
    start, end = max(one.start, other.start), min(one.epochs.stop, other.epochs.stop)
    if one.name == other.name and start < end:
        raise ValueError(f"'{field}': two {one.name} windows overlap in epochs [{start}, {end})")


Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Paths = dict[Annotated[str, StringConstraints(max_length=120)], JsonValue]


class Controls(Part):
    """Twins of every curve, with the same seeds, that tell a critical period from a learning rate
    that has merely decayed. What a twin shares with its curve is trained once."""

    restart: bool = Field(False, description="The schedule starts again where a deficit ends.")
    constant: Rate | None = Field(None, description="This learning rate in every epoch.")


class Multiplied(Measurements):
    """What makes an experiment of a run: seeds, variants and sweep axes that multiply; what is
    measured; names."""

    name: Annotated[str, StringConstraints(max_length=200)] = ""
    checkpoints: Checkpoints | None = None
    seeds: list[Seed] = Field([0], min_length=1, max_length=10_000)
    sweep: dict[
        Annotated[str, StringConstraints(min_length=1, max_length=120)],
        Annotated[list[JsonValue], Field(min_length=1, max_length=100_000)],
    ] = Field({}, max_length=8, description="Dotted path in the spec -> values. Axes multiply.")
    variants: dict[Label, Paths] = Field(
        {},
        max_length=64,
        description="Name of a curve -> what it sets, as {dotted path: value}. Multiplies with the"
        " sweep; each variant is a curve of its own in the figures.",
    )
    controls: Controls = Controls()
    reuse: bool = Field(
        True, description="false: train every run alone and take nothing from the store."
    )
    tags: dict[Tag, Annotated[str, StringConstraints(max_length=256)]] = Field({}, max_length=32)

    @model_validator(mode="after")
    def _seeds_differ(self) -> "Multiplied":
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("'seeds' names the same seed twice")
        return self


class ExperimentSpec(Multiplied, RunSpec):
    """An experiment: a base run, variants and sweep axes that multiply, seeds, measurements."""

    schema_version: Literal[1] = 1
