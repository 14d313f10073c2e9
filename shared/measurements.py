"""What a user may ask to be measured, beside training: nothing here changes a weight.

To add a probe: its class or field here, its name in `shared/probe.py`, a function in
`worker/probes.py`.
"""

import operator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from shared.part import Count, Epoch, Every, Part, listed
from shared.pruning import Granularity, Labels

SAMPLES = 1000
"""Images, where neither `samples` nor `relative_error` says how many."""
SIDE_SAMPLES = 256
"""Images for what is measured beside a trace that draws images until an error is reached."""
FIRST_LOOK = 128
"""Images before the error is looked at for the first time."""
BINS = 30
"""Of activations, where neither `bins` nor `bin_size` says how many."""
SCORED = 10
"""Epochs at the end of a run that a score may look at."""

Estimator = Literal["signs", "exact", "label", "variational", "empirical"]
Beside = Literal["gradient", "hessian_eigenvalue", "hessian_trace"]


LayerNumber = Annotated[int, Field(ge=-1000, le=1000, strict=True)]
Images = Annotated[list[Literal["current", "clean", "deficit"]], BeforeValidator(listed)]
Splits = Annotated[list[Literal["train", "test"]], BeforeValidator(listed)]


class Timed(Part):
    """When a state is measured."""

    every: Every | None = Field(
        None, description="Measure after 0, every, 2*every, ... epochs and at the end."
    )
    epochs: list[Epoch] = Field(
        [], max_length=10_000, description="And after these numbers of epochs."
    )

    @model_validator(mode="after")
    def _names_an_epoch(self) -> "Timed":
        if self.every is None and not self.epochs:
            raise ValueError("give 'every', 'epochs' or both")
        return self


class Probed(Timed):
    """And on what."""

    images: Images = Field(
        ["current"],
        min_length=1,
        description="One or several of: current, what the run was last shown; clean; deficit, under"
        " each of the run's deficits.",
    )
    split: Splits = Field(
        ["train"], min_length=1, description="One or both of train and test images."
    )
    probe_set: Literal["fixed", "redrawn"] = Field(
        "fixed",
        description="fixed: the same images and draws at every epoch, which steadies a curve."
        " redrawn: others at each epoch, so that errors are independent.",
    )

    @model_validator(mode="after")
    def _names_nothing_twice(self) -> "Probed":
        for field in ("images", "split"):
            named = getattr(self, field)
            if len(set(named)) != len(named):
                raise ValueError(f"'{field}' names the same one twice")
        return self


class Fisher(Probed):
    """Trace of the Fisher information, in total and by layer, with standard errors."""

    estimator: Estimator = Field(
        "signs",
        description="signs: random signs on the square root of the logit Fisher; the smallest"
        " error for its cost once training is under way. exact: the sum over all classes, at the"
        " price of one backward pass for each. label: one label per image drawn from the model, as"
        " the paper defines it; misleading late in training. variational: noise in the weights"
        " of convolutions and linear layers, and of those alone; All-CNN only. empirical: the true"
        " labels; not a Fisher trace, and refused in figures of it.",
    )
    norms: Literal["sketched", "exact"] | None = Field(
        None,
        description="Of `signs`. sketched (its default): unbiased norms of per-image gradients for"
        " a fraction of the cost, for monitoring. exact: for publication. The other estimators"
        " always take exact norms.",
    )
    square_root: Literal["rotated", "symmetric"] | None = Field(
        None,
        description="Of `signs`. rotated (its default): turned, image by image, to diagonalise the"
        " logit kernel of a late layer; the smaller variance. symmetric: H^(1/2) as it is.",
    )
    precision: Literal["float32", "float64", "bfloat16"] = Field(
        "float32", description="Of the passes and the norms; sums are in float64."
    )
    samples: Count | None = Field(
        None, description=f"Images; {SAMPLES} if `relative_error` is not given either."
    )
    relative_error: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="Instead of `samples`: take images until the standard error of the total is"
        " this share of it. The answer says whether that was reached.",
    )
    max_samples: Count | None = Field(
        None, description="With `relative_error`: at most this many images; 10000 by default."
    )
    beside: Annotated[list[Beside], BeforeValidator(listed)] = Field(
        ["gradient"],
        description="Measured at the same epochs, on the same images. gradient: norm of the loss"
        " gradient and gradient-noise scale. hessian_eigenvalue: the largest one, by Lanczos."
        " hessian_trace: by Hutchinson.",
    )

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, given: Any) -> Any:
        """What a choice implies stands in the accepted spec."""
        if not isinstance(given, dict):
            return given
        fields = cls.model_fields
        optional = {name for name, field in fields.items() if field.default is None}
        out = {k: v for k, v in given.items() if v is not None or k not in optional}
        if out.get("estimator", "signs") == "signs":
            out = {"norms": "sketched", "square_root": "rotated"} | out
        if "relative_error" in out:
            return {"max_samples": 10_000} | out
        return {"samples": SAMPLES} | out

    @model_validator(mode="after")
    def _options_fit(self) -> "Fisher":
        if self.estimator != "signs":
            for option in ("norms", "square_root"):
                if getattr(self, option) is not None:
                    raise ValueError(f"'{option}' is of the estimator signs, not {self.estimator}")
        if self.relative_error is not None and self.samples is not None:
            raise ValueError("give 'samples' or 'relative_error', not both")
        if self.relative_error is None and self.max_samples is not None:
            raise ValueError("'max_samples' goes with 'relative_error'")
        if self.max_samples is not None and self.max_samples < FIRST_LOOK:
            raise ValueError(
                f"'max_samples' is {self.max_samples}: the error is first known after {FIRST_LOOK}"
            )
        if self.estimator == "variational":
            if self.relative_error is not None:
                raise ValueError("'relative_error': the variational estimate has no standard error")
            if self.precision != "float32":
                raise ValueError("'precision': the variational estimate is made in float32")
        if len(set(self.beside)) != len(self.beside):
            raise ValueError("'beside' names the same measurement twice")
        return self


class SecondOrder(Probed):
    """Where the quadratic picture holds: KL(p_w' || p_w) of random perturbations of growing size
    against 1/2 d^T F d."""

    samples: int = Field(256, ge=1, le=10_000, strict=True, description="Images.")
    sizes: list[Annotated[float, Field(ge=1e-9, le=10)]] = Field(
        [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1],
        min_length=1,
        max_length=64,
        description="Length of the perturbation over the length of the weights.",
    )
    directions: int = Field(4, ge=1, le=256, strict=True, description="Random directions.")

    @model_validator(mode="after")
    def _sizes_differ(self) -> "SecondOrder":
        if len(set(self.sizes)) != len(self.sizes):
            raise ValueError("'sizes' names the same size twice")
        return self


class Gradients(Probed):
    """Of each layer the norm of the mean loss gradient and its standard deviation over images: do
    gradients still reach the first layers under a deficit?"""

    samples: int = Field(1000, ge=2, le=100_000, strict=True, description="Images.")


class Saliency(Probed):
    """Do criteria of pruning rank weights alike? Spearman's rank correlation of every two of them,
    over the network and in each layer. Nothing is pruned."""

    granularity: Granularity = Field("weights", description="What is ranked; theis: channels.")
    labels: Labels = Field("model", description="Of the Fisher information, as for `pruning`.")
    samples: int = Field(256, ge=1, le=100_000, strict=True, description="Images.")


class Filters(Timed):
    """The weights of the first layer, as images: which spatial frequencies does it look at?"""


class InformationPlane(Probed):
    """Of each layer's activations the information about the image and about its label, in bits:
    rounded to bins, under Gaussian noise, and by a held-out decoder. Not that in the weights."""

    layers: list[LayerNumber] | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Numbers of the network's top-level layers, from 0; negative ones count from"
        " the end; null: all.",
    )
    samples: int = Field(
        1000,
        ge=2,
        le=5000,
        strict=True,
        description="Images N. No estimate of I(X;T) is above log2 N; time grows as N^2 to N^3.",
    )
    noise: Literal["relative", "absolute"] = Field(
        "relative",
        description="Of the two bounds. relative: the noise variance in every unit is"
        " `noise_variance` times the sum over units of their variance over images, so that layers"
        " of different scale and width can be set side by side. absolute: it is"
        " `noise_variance`.",
    )
    noise_variance: float = Field(
        0.1,
        ge=1e-12,
        le=1e12,
        description="Every answer says what it comes to. Published work has 0.1 (MNIST) and 0.001,"
        " absolute, for layers of 20 to 1024 units.",
    )
    bins: Annotated[int, Field(ge=2, le=1_000_000, strict=True)] | None = Field(
        None,
        description=f"Of equal width over the layer's range in that state; {BINS} if `bin_size` is"
        " not given either.",
    )
    bin_size: Annotated[float, Field(ge=1e-12, le=1e12)] | None = Field(
        None, description="Instead of `bins`: their width, counted from 0."
    )
    decoder: bool = Field(
        True,
        description="Whether to fit decoders: a lower bound on I(T;Y) by images that they have not"
        " seen.",
    )

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, given: Any) -> Any:
        """What is implied stands in the accepted spec."""
        if not isinstance(given, dict) or given.get("bin_size") is not None:
            return given
        return given | {"bins": BINS if given.get("bins") is None else given["bins"]}

    @model_validator(mode="after")
    def _options_fit(self) -> "InformationPlane":
        if self.bins is not None and self.bin_size is not None:
            raise ValueError("give 'bins' or 'bin_size', not both")
        return self


class LinearPath(Part):
    """Loss along the straight line between the final weights of each run with a deficit and of its
    partner without one: do both end in one valley? BatchNorm is re-estimated at every point, on a
    copy."""

    points: int = Field(
        11, ge=3, le=201, strict=True, description="Points of the line, both ends among them."
    )
    samples: int = Field(
        1000, ge=2, le=100_000, strict=True,
        description="Clean images of each split, the same ones at every point; BatchNorm's"
        " statistics are of those for training.",
    )  # fmt: skip


class Scoring(Part):
    """How the final accuracy is taken."""

    batchnorm_statistics: Literal["running", "reestimated"] = Field(
        "running",
        description="running: as training left them. reestimated: on a copy, before each scored"
        " evaluation, one pass over training images as the network was last shown them (over all of"
        " them also after `partial_data`).",
    )
    samples: Annotated[int, Field(ge=2, le=10_000_000, strict=True)] | None = Field(
        None, description="Training images of that pass, the same ones each time; null: all."
    )


class Measurements(Part):
    """What an experiment measures."""

    fisher: Fisher | None = None
    second_order: SecondOrder | None = None
    gradients: Gradients | None = None
    filters: Filters | None = None
    information_plane: InformationPlane | None = Field(None, exclude_if=operator.not_)
    scoring: Scoring = Scoring()
    linear_path: LinearPath | None = Field(None, exclude_if=operator.not_)
    saliency: Saliency | None = Field(None, exclude_if=operator.not_)


class _Anywhere(Timed):
    """Without `every` and `epochs`: wherever a checkpoint is kept."""

    @model_validator(mode="after")
    def _names_an_epoch(self) -> "_Anywhere":
        return self


class LaterFisher(_Anywhere, Fisher):
    __doc__ = Fisher.__doc__


class LaterSecondOrder(_Anywhere, SecondOrder):
    __doc__ = SecondOrder.__doc__


class LaterGradients(_Anywhere, Gradients):
    __doc__ = Gradients.__doc__


class LaterFilters(_Anywhere, Filters):
    __doc__ = Filters.__doc__


class LaterInformationPlane(_Anywhere, InformationPlane):
    __doc__ = InformationPlane.__doc__


class LaterSaliency(_Anywhere, Saliency):
    __doc__ = Saliency.__doc__


PARTS = ("fisher", "second_order", "gradients", "filters", "information_plane", "saliency")
"""What can be asked for at epochs of the user's choice."""
LINE = "linear_path"
"""What is measured at the end of a run."""


class LaterMeasurements(Part):
    """Measurements of an experiment that exists. Nothing is trained: epochs between two
    checkpoints are replayed from the nearest one before."""

    fisher: LaterFisher | None = None
    second_order: LaterSecondOrder | None = None
    gradients: LaterGradients | None = None
    filters: LaterFilters | None = None
    information_plane: LaterInformationPlane | None = Field(None, exclude_if=operator.not_)
    saliency: LaterSaliency | None = Field(None, exclude_if=operator.not_)
    linear_path: LinearPath | None = Field(
        None,
        exclude_if=operator.not_,
        description="Of runs that have ended. Their partners without a deficit are looked at too.",
    )
    runs: list[Annotated[int, Field(ge=0, strict=True)]] | None = Field(
        None, min_length=1, max_length=100_000, description="Of these runs alone; null: of all."
    )

    @model_validator(mode="after")
    def _asks_for_something(self) -> "LaterMeasurements":
        if all(getattr(self, part) is None for part in (*PARTS, LINE)):
            raise ValueError(f"give one or several of {', '.join(map(repr, (*PARTS, LINE)))}")
        return self
