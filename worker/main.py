"""Start one worker: a Celery parent that never imports torch, and one child that does the work."""

import logging
import os
import sys

from celery import signals

from shared.queue import QUEUE, make_app
from shared.settings import Settings
from worker.overseer import Overseer
from worker.pulse import Pulse
from worker.tasks import die_with_parent, register


def main() -> None:
    settings = Settings()
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    # Read by OpenMP when the child imports torch.
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    app = make_app(settings)
    pulse = Pulse()
    register(app, settings, pulse)
    overseer = Overseer(settings, pulse)
    signals.worker_process_init.connect(lambda **_: die_with_parent(), weak=False)
    signals.worker_ready.connect(lambda **_: overseer.start(), weak=False)
    signals.task_received.connect(overseer.received, weak=False)
    signals.worker_shutting_down.connect(lambda **_: pulse.stop(), weak=False)
    app.worker_main(
        ["worker", "--queues", QUEUE, "--without-gossip", "--without-mingle", *sys.argv[1:]]
    )


if __name__ == "__main__":
    main()
