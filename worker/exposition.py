"""What a worker shows to Prometheus: its parent answers, also while the child trains or is dead."""

import logging
import urllib.request
from collections.abc import Iterator
from contextlib import suppress

from celery.worker import state
from prometheus_client import REGISTRY, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric

from shared.settings import Settings
from worker.device_use import of_cpu, of_cuda
from worker.pulse import Pulse

log = logging.getLogger(__name__)


class Exposition:
    """Registers what is looked at when Prometheus asks: the child, its device."""

    def __init__(self, settings: Settings, pulse: Pulse) -> None:
        self.settings, self.pulse = settings, pulse
        self._of_cpu = of_cpu(settings.threads)

    def start(self) -> None:
        """A port that is taken costs the metrics, not the worker."""
        if self.settings.metrics_port == 0:
            return
        REGISTRY.register(self)
        address = (self.settings.metrics_port, self.settings.metrics_host)
        try:
            start_http_server(*address)
        except OSError as error:
            log.error("no metrics are shown: %s:%d: %s (HUBEL_METRICS_PORT)", *address[::-1], error)
            return
        self._warm_up()

    def _warm_up(self) -> None:
        """What the answering thread imports is imported before another child is forked, which
        would wait for ever for the lock of a module whose importer it has not."""
        host = self.settings.metrics_host
        here = "127.0.0.1" if host in ("", "0.0.0.0") else host  # noqa: S104
        url = f"http://{f'[{here}]' if ':' in here else here}:{self.settings.metrics_port}/metrics"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with suppress(OSError), opener.open(url, timeout=5) as answer:
            answer.read()

    def describe(self) -> list[Metric]:
        """So that registering does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        busy, unfit = bool(state.active_requests), self.pulse.is_unfit
        yield GaugeMetricFamily("hubel_worker_busy", "1 while it works", float(busy))
        yield GaugeMetricFamily(
            "hubel_worker_unfit",
            "1 while its device, its disk or the store keeps it from working",
            float(unfit),
        )
        said = self.pulse.said
        if said:
            yield from self._device(said)

    def _device(self, said: dict[str, str]) -> Iterator[Metric]:
        device = said["device"]
        labels = ["device", "name", "numerics"]
        info = GaugeMetricFamily("hubel_device_info", "1, of the device in use", labels=labels)
        info.add_metric([said[label] for label in labels], 1.0)
        memory = GaugeMetricFamily(
            "hubel_device_memory_bytes",
            "Of a GPU all that is in use and all there is; of a CPU what the child holds, and what"
            " it may",
            labels=["device", "kind"],
        )
        use = GaugeMetricFamily(
            "hubel_device_utilisation_ratio",
            "Of a GPU the share of the last moments with a kernel; of a CPU the child's processor"
            " time since the last look, over time and threads",
            labels=["device"],
        )
        seen = of_cuda(said["uuid"]) if said["uuid"] else self._of_cpu(int(said["pid"]))
        if seen is not None:
            memory.add_metric([device, "used"], seen.memory_used)
            memory.add_metric([device, "total"], seen.memory_total)
            if seen.busy is not None:
                use.add_metric([device], seen.busy)
        yield from (info, memory, use)
