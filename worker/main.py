"""Start one worker: a Celery parent that never imports torch, and one child that does the work."""

import os
import sys

from celery import signals

from shared import logs, scratch
from shared.meters import BUILD, version
from shared.queue import QUEUE, make_app
from shared.scratch import DATASETS
from shared.settings import Settings
from worker import last_words
from worker.exposition import Exposition
from worker.overseer import Overseer
from worker.pulse import Pulse
from worker.tasks import die_with_parent, drop_ids, note_ids, register


def main() -> None:
    settings = Settings()
    logs.set_up(settings.log_level, settings.log_format)
    for folder in (settings.scratch, settings.scratch / DATASETS):
        scratch.remove_abandoned(folder)
    last_words.forget_the_old(settings)
    BUILD.labels("worker", version()).set(1)
    # Read by OpenMP when the child imports torch.
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    app = make_app(settings)
    pulse = Pulse()
    register(app, settings, pulse)
    overseer, exposition = Overseer(settings, pulse), Exposition(settings, pulse)
    signals.worker_process_init.connect(lambda **_: die_with_parent(), weak=False)
    signals.worker_ready.connect(lambda **_: overseer.start(), weak=False)
    signals.task_prerun.connect(note_ids, weak=False)
    signals.task_postrun.connect(drop_ids, weak=False)
    signals.task_received.connect(overseer.received, weak=False)
    signals.worker_shutting_down.connect(lambda **_: pulse.stop(), weak=False)
    # It would set the root logger's level to its own, which is WARNING.
    signals.setup_logging.connect(lambda **_: None, weak=False)
    exposition.start()  # before it has reached Redis: a worker that waits for that is alive
    quiet = ["--quiet"] if settings.log_format == "json" else []  # no banner between the lines
    options = ["--queues", QUEUE, "--without-gossip", "--without-mingle"]
    app.worker_main([*quiet, "worker", *options, *sys.argv[1:]])


if __name__ == "__main__":
    main()
