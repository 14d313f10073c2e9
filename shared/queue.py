"""The Celery app, and sending by name. A message is a wake-up hint that carries names only; the
object store decides what is left to do."""

import logging
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from redis.exceptions import RedisError

from shared import logs
from shared.live import Live
from shared.plan import Plan, Segment
from shared.ready import EXPERIMENT, QUEUE, WORK
from shared.settings import Settings
from shared.work import preparation_work, repair_work, work_name

log = logging.getLogger(__name__)

TRAIN = "hubel.train"
PREPARE = "hubel.prepare"
REPAIR = "hubel.repair"
REQUEST = "hubel_request"
"""Header of a message: the request that asked for it, for the logs."""
SEGMENT = "hubel_segment"
"""What a worker notes in a message that it received: the segment that it does in place of the one
that is named."""


def make_app(settings: Settings) -> Celery:
    url = settings.redis_url.get_secret_value()
    app = Celery("hubel", broker=url)
    app.conf.update(
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        # Acknowledged on receipt: redelivery would come late and in parallel. Leases, manifests
        # and the reconcile loop bring lost work back.
        task_acks_late=False,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_pool="prefork",
        # A child that takes longer than this to start is killed: 4 s are few on a busy machine.
        worker_proc_alive_timeout=60.0,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_transport_options={
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 15,
        },
    )
    return app


class Sender:
    """Sends messages without ever failing its caller: the reconcile loop sends again."""

    def __init__(self, app: Celery) -> None:
        self.app = app

    def train(self, experiment: str, index: int, segment: Segment) -> bool:
        return self._send(TRAIN, work_name(segment), experiment, index)

    def wake(self, live: Live, experiment: str, index: int, plan: Plan, seconds: float) -> bool:
        """Send a segment unless it is queued already for this experiment. `seconds`: what is left
        from its start (`shared.urgency`). False where the queue does not take it: there is no use
        in sending more now."""
        segment = plan.segments[index]
        is_new = live.add_ready(experiment, index, segment, seconds)
        if not is_new or self.train(experiment, index, segment):
            return True
        live.drop_ready(experiment, index, segment)
        live.unmark_queued(work_name(segment))
        return False

    def prepare(self, experiment: str, dataset: str) -> bool:
        return self._send(PREPARE, preparation_work(dataset), experiment, dataset)

    def repair(self, experiment: str, index: int, segment: Segment) -> bool:
        return self._send(REPAIR, repair_work(segment), experiment, index)

    def _send(self, task: str, work: str, *args: Any) -> bool:
        try:
            headers = {WORK: work, REQUEST: logs.current("request")}
            if task == TRAIN:
                headers[EXPERIMENT] = args[0]
            self.app.send_task(task, args=args, headers=headers, retry=False)
        except (KombuError, OperationalError, RedisError, OSError) as error:
            log.warning("%s %s was not queued: %s", task, args, error)
            return False
        return True
