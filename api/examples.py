"""Bodies of requests that the OpenAPI document shows as examples."""

EXAMPLES = {
    "removal_sweep": {
        "summary": "When is the deficit removed? The paper's All-CNN on CIFAR-10",
        "value": {
            "name": "blur, removal sweep",
            "dataset": {"name": "cifar10"},
            "model": {"name": "all_cnn", "width": 1.0},
            "training": {"epochs_after_deficit": 160},
            "deficit": {"name": "blur", "resolution": 8, "start": 0, "end": 40},
            "fisher": {"every": 10, "samples": 2000},
            "seeds": [0, 1, 2],
            "sweep": {"deficit.end": [0, 20, 40, 60, 80, 100, 120, 140]},
            "tags": {"lab": "vision"},
        },
    },
    "small": {
        "summary": "Two small runs",
        "value": {
            "dataset": {"name": "gratings", "train_samples": 500},
            "model": {"name": "all_cnn", "width": 0.1},
            "training": {"epochs": 4, "batch_size": 64, "augmentation": {"shift": 2}},
            "deficit": {"name": "vertical_flip", "end": 2},
            "seeds": [0, 1],
        },
    },
    "preset": {
        "summary": "The paper's Fig 1 A at the small scale, with five seeds and without twins",
        "value": {
            "preset": "fig1a",
            "scale": "mini",
            "seeds": [0, 1, 2, 3, 4],
            "controls": None,
        },
    },
}

LATER_EXAMPLES = {
    "checkpoints": {
        "summary": "Fisher traces of every kept checkpoint, on training and on test images",
        "value": {"fisher": {"split": ["train", "test"], "images": ["current", "clean"]}},
    },
    "publication": {
        "summary": "Exact norms, to 1 % of the total, of two runs",
        "value": {
            "fisher": {"epochs": [0, 2], "norms": "exact", "relative_error": 0.01},
            "runs": [0, 1],
        },
    },
    "quadratic": {
        "summary": "How far the quadratic picture holds",
        "value": {"second_order": {"every": 2}},
    },
    "activations": {
        "summary": "Information in the activations of the first and the last layer",
        "value": {"information_plane": {"layers": [0, -1], "samples": 500}},
    },
}

FORK_EXAMPLES = {
    "rate": {
        "summary": "The first run from epoch 2 on with a learning rate that starts again, lower",
        "value": {
            "run": 0,
            "epoch": 2,
            "set": {
                "training.optimizer.learning_rate": 0.01,
                "training.learning_rate_restart": True,
            },
        },
    },
    "second_deficit": {
        "summary": "A second deficit, of several lengths, from epoch 2 on",
        "value": {
            "run": 0,
            "epoch": 2,
            "set": {"deficits": [{"name": "blur", "resolution": 4, "start": 2, "end": 3}]},
            "sweep": {"training.epochs": [4, 6]},
        },
    },
    "measured": {
        "summary": "The same training, with other measurements",
        "value": {"run": 1, "epoch": 0, "gradients": {"every": 1}},
    },
}

PRUNE_EXAMPLES = {
    "criteria": {
        "summary": "The first run at its end by three criteria, with two epochs of fine-tuning",
        "value": {
            "run": 0,
            "epoch": 2,
            "criterion": ["magnitude", "fisher", "random"],
            "sparsities": [0, 0.5, 0.9],
            "fine_tuning_epochs": 2,
            "samples": 64,
        },
    },
    "iterative": {
        "summary": "Channels, in two steps, by an earlier state",
        "value": {
            "run": 1,
            "epoch": 2,
            "scored_at": 1,
            "criterion": "theis",
            "granularity": "channels",
            "sparsities": [0, 0.5],
            "steps": 2,
            "fine_tuning_epochs": 1,
            "learning_rate_restart": True,
        },
    },
}

TOKEN_EXAMPLES = {
    "student": {
        "summary": "May submit, for ten device hours in all and until the end of 2030",
        "value": {
            "name": "a student's sweeps",
            "scopes": ["submit"],
            "requests_per_minute": 600,
            "device_seconds": 36000,
            "expires": "2030-12-31T23:59:59Z",
        },
    },
    "dashboard": {"summary": "Only looks", "value": {"name": "wall", "scopes": ["read"]}},
}

PATCH_EXAMPLES = {
    "tag": {
        "summary": "Set one tag, remove another, say something",
        "value": {"tags": {"lab": "vision", "draft": None}, "notes": "Seed 3 looks odd."},
    }
}

WEBHOOK_EXAMPLES = {
    "all": {"summary": "However it ends", "value": {"url": "https://hooks.example.org/hubel"}},
    "failures": {
        "summary": "Failures only",
        "value": {
            "url": "https://hooks.example.org/pager?team=vision",
            "events": ["experiment.failed"],
            "description": "whoever is on call",
        },
    },
}
