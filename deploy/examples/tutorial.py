# %% [markdown]
# # From a POST to Figure 1
#
# Achille, Rovere & Soatto (*Critical Learning Periods in Deep Networks*, ICLR 2019) blur the images
# that a network is trained on, take the blur away after some epochs, and let the network train on
# as long as it would have without. The later the blur goes, the worse the network ends: a critical
# period, as in a kitten with one eye shut. This tutorial makes that figure at a size that two
# processor cores manage in a few minutes, asks what the loss is made of, and takes the numbers
# home.
#
# It is a script whose cells begin with `# %%`: VS Code, PyCharm and Spyder run them one by one,
# `jupytext --to ipynb` makes a notebook of it, and `python tutorial.py` runs it whole.
#
# You need a service (`make up` keeps one on http://127.0.0.1:8000; another is named by `HUBEL_URL`,
# and by `HUBEL_TOKEN` where it wants a token) and the client: `pip install '.[client]'` in a clone.

# %%
import os
from pathlib import Path

import altair as alt

from hubel import Client, ExperimentSpec

alt.renderers.enable("svg")  # drawn here: otherwise a chart loads its program from the network
client = Client()
client

# %% [markdown]
# ## What is asked
#
# A *spec* says everything. Ours: small noisy gratings in 8 classes (a data set that the service
# generates, so nothing is downloaded), the paper's All-CNN at a twelfth of its width, SGD whose
# learning rate falls by 15 % an epoch, and a blur to 4 x 4 pixels from the first epoch on.
#
# - `sweep` removes the blur after 0, 5, 10, 15 and 20 epochs. 0 is no blur at all: the reference.
# - `epochs_after_deficit`: every run gets 10 epochs of clean images after the removal, so that a
#   late removal is not simply a short training.
# - `controls`: every curve gets a twin whose learning rate starts afresh at the removal. By epoch
#   20 the annealed rate is 0.85^20 = 4 % of what it was. Is it the network that can no longer
#   learn, or the rate that no longer lets it?
# - `seeds`: each point three times, with other initial weights and another order of the images.
# - `fisher`: the trace of the Fisher information, every 4 epochs.
#
# `ExperimentSpec` checks it before anything is sent, and an editor completes it; a plain dict does
# as well. `HUBEL_TUTORIAL=quick` shrinks it to a test of the machinery, whose numbers mean nothing.

# %%
QUICK = os.environ.get("HUBEL_TUTORIAL") == "quick"
FEW = {"train_samples": 128, "test_samples": 64} if QUICK else {}

spec = ExperimentSpec.model_validate(
    {
        "name": "Tutorial: when is a blur removed too late?",
        "dataset": {"name": "gratings"} | FEW,
        "model": {"name": "all_cnn", "width": 0.0833},
        "training": {
            "epochs_after_deficit": 2 if QUICK else 10,
            "batch_size": 64,
            "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
            "schedule": {"name": "exponential", "gamma": 0.85},
            "augmentation": {"shift": 2, "horizontal_flip": False},
        },
        "deficit": {"name": "blur", "resolution": 4, "start": 0, "end": 0},
        "sweep": {"deficit.end": [0, 3] if QUICK else [0, 5, 10, 15, 20]},
        "controls": {"restart": True},
        "seeds": [0, 1] if QUICK else [0, 1, 2],
        "fisher": {"every": 4, "samples": 16 if QUICK else 200},
        "tags": {"course": "tutorial"},
    }
)

# %% [markdown]
# ## What it would cost
#
# A dry run stores nothing. *Alone* is what the runs cost one by one. *Shared* is less, because a
# run whose blur goes at 20 passes through the very states of the one whose blur goes at 10, up to
# epoch 10: those are trained once. *New* is what is left to do; run this again tomorrow and it is
# 0.

# %%
client.plan(spec)

# %% [markdown]
# ## Submit, and wait
#
# Closing the notebook or Ctrl-C ends the waiting and not the experiment:
# `client.experiment("ID").wait()` takes it up again, from any machine. A run that fails does not
# stop the others; `wait` then raises `ExperimentFailed`, which says which run and why.

# %%
experiment = client.submit(spec).wait(progress=True)

# %% [markdown]
# ## Learning curves
#
# `metrics()` is a pandas frame: a row for each run and epoch, every number, never sampled. Test
# accuracy is always measured on *clean* images, during the blur too: that the curves lie near
# chance (1 in 8) until their removal says that what is learned from blurred gratings is of no use
# for clear ones. Then look at the slopes: the late ones rise more slowly, and flatten before they
# are up.

# %%
metrics = experiment.metrics()
metrics.tail()

# %%
curves = metrics[metrics["variant"] == "annealed"].rename(columns={"deficit.end": "removed at"})
learning = (
    alt.Chart(curves, title="Test accuracy on clean images, mean over seeds")
    .mark_line()
    .encode(
        alt.X("epoch"),
        alt.Y("mean(test_accuracy)", title="accuracy", scale=alt.Scale(domain=[0, 1])),
        alt.Color("removed at:O", scale=alt.Scale(scheme="viridis")),
    )
)
learning

# %% [markdown]
# ## Figure 1: the critical period
#
# Final accuracy against the epoch at which the blur went. The solid curve is the paper's
# experiment. A bar is a 95 % Student t interval over three seeds: it says where the mean of *many*
# seeds would lie, and with three of them it is wide. Small points are the single seeds.

# %%
figure = experiment.figure("critical_period")
figure

# %% [markdown]
# The same as numbers. `drop` is what the blur cost, in accuracy, against the run *of the same seed*
# without blur: what a lucky seed gains it gains in both, and it cancels. So `drop_low` to
# `drop_high` is the interval to judge by, and it is not the difference of two bars in the figure.

# %%
results = experiment.results()
results

# %% [markdown]
# ## What survives the control?
#
# Here a blur removed at 20 costs 45.2 points (42.4 to 48.0), and with a fresh learning rate
# nothing: that curve ends 3.9 points (1.1 to 6.7) *above* its reference. (3 seeds; torch 2.13 on an
# x86-64 CPU; your digits may differ in the last places on another kind of device.) So at this size
# the fall of the solid curve is a rate that has decayed before the clean images came, and not a
# network that has lost the ability to learn. Without the dashed curve one would have claimed the
# opposite.
#
# `share` is the part of the loss that is left under the control, with its interval (Fieller's, for
# a ratio of two paired means); it is below zero where the curve with a fresh rate ends above its
# reference. Where the loss itself may be zero there is no share, and `reason` says so.

# %%
for control in experiment.summary()["controls"]:
    share, reason = control["share"], control["reason"]
    said = reason if share is None else f"{share:.0%} of the loss survives"
    print(f"removed at {control['epoch']}: {said}")

# %% [markdown]
# ## The trace of the Fisher information
#
# It measures how much the network's predictions change with its weights: where it is high, training
# is writing into the weights; the paper reads its rise and fall as the opening and closing of a
# window. The figure has a logarithmic axis, since a trace grows a thousandfold within an epoch or
# two.
#
# Three cautions. The trace is of *this* network at *these* weights on the images it was last shown:
# its size depends on the scale of the weights and is not to be compared between architectures. Each
# number is an estimate from 200 images, `standard_error` says how good, and that error is over
# images: the band in the figure is over seeds and is wider. And a trace that falls while accuracy
# stays low shows that the loss surface has become flat there, which a small learning rate also
# brings about: it is an observation beside the critical period, and not by itself its cause.

# %%
experiment.figure("fisher_trace")

# %%
traces = experiment.fisher()
traces[["run", "variant", "seed", "deficit.end", "epoch", "stimulus", "trace", "standard_error"]]

# %% [markdown]
# ## Measured afterwards
#
# Nothing has to be trained again to look at something else: states are kept, and a measurement is a
# job on them. Here the trace of the longest blur's runs on clean *and* on blurred images, from as
# many images as it takes for a standard error of 20 %. The numbers join those of the experiment.

# %%
runs = experiment.runs()
removal, end = int(runs["deficit.end"].max()), int(runs["epochs"].max())
chosen = runs[(runs["deficit.end"] == removal) & (runs["variant"] == "annealed")]["run"]
probe = {"images": ["clean", "deficit"], "relative_error": 0.2, "max_samples": 512}
job = experiment.measure(fisher=probe | {"epochs": [removal, end]}, runs=chosen).wait()

# %%
afterwards = experiment.fisher(run=list(chosen))
afterwards = afterwards[afterwards["relative_error_asked"].notna()]
afterwards.groupby(["epoch", "stimulus"])[["trace", "relative_error", "mean_confidence"]].mean()

# %% [markdown]
# One network, two answers. At epoch 20, the last of the blur, the trace on clean images is 25 to 43
# times the one on the blurred images that the network is being fitted to (3 seeds); after ten clean
# epochs 1.6 to 3.5 times. And `mean_confidence`, the mean of the largest probability, is 0.90 on
# clean images of which it gets less than one in five right, and 0.23 on blurred ones. A trace says
# little without the images that it was taken on: they stand beside it, under `stimulus`.

# %% [markdown]
# ## Home with it
#
# Frames are tables for any spreadsheet (`to_csv`, or `to_excel` where openpyxl is installed), and
# the service draws figures for print. The archive has all of it: the spec, the
# plan, every number, the figures, TensorBoard event files, and a script that draws the figures
# again without a service.

# %%
out = Path("tutorial-output")
out.mkdir(exist_ok=True)
results.to_csv(out / "results.csv", index=False)
metrics.to_csv(out / "metrics.csv", index=False)
traces.to_csv(out / "fisher.csv", index=False)
for ending in ("png", "svg", "pdf"):
    experiment.save_figure("critical_period", out / f"critical_period.{ending}")
experiment.export(out / "everything.zip")
print(results.to_string(index=False))
print(f"Tables and figures: {out.resolve()}")

# %% [markdown]
# Tags and a note stay with the experiment, for whoever looks at it in a year.

# %%
experiment.note("With a fresh learning rate nothing is lost: see the dashed curve.")
experiment.tag(read="yes")

# %% [markdown]
# ## Going on otherwise
#
# A fork takes a run up to an epoch and goes on otherwise from there: with other deficits, for
# longer, or trained in another way. Here the longest blur, with a learning rate that no longer
# falls. Only what is new is trained; `experiment.fork` with the same arguments does it.

# %%
constant = {"training.schedule": {"name": "constant"}}
experiment.plan_fork(run=int(chosen.iloc[0]), epoch=removal, set=constant)

# %% [markdown]
# ## Where to go on
#
# - The paper's own panels: `client.plan(preset="fig1a", scale="mini")`, and `client.presets()`.
# - More seeds: add them to `seeds` and submit again; what is there is not trained again.
# - Another deficit in place of the blur: `{"name": "vertical_flip"}`, say. A later removal.
# - A loss that *does* survive both controls, on a processor: `client.submit(preset="deep_linear",
#   scale="mini")`.

# %%
client.experiments(tags={"course": "tutorial"})
