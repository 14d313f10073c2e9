"""What a spec gives where nothing happens: every run trained alone, in this process, in a bucket of
its own, without a queue."""

from small import numbers

from shared import names, planning
from shared.records import Records
from shared.settings import Settings
from shared.spec import ExperimentSpec
from shared.storage import Storage
from worker import datasets_cache, device
from worker.bench import Bench
from worker.preparation import prepare
from worker.segment import execute


class Reference:
    """Remembers what it has trained: the numbers are a function of the spec."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings.model_copy(update={"s3_bucket": f"{settings.s3_bucket}-reference"})
        self.records = Records(Storage(self.settings).open())
        prepare("gratings", self.records.store, self.settings)
        self._known: dict[str, list] = {}

    def of(self, spec: ExperimentSpec) -> list:
        text = spec.model_dump_json(exclude={"name", "tags", "reuse"})
        if text not in self._known:
            self._known[text] = self._train(spec.model_copy(update={"reuse": False}))
        return self._known[text]

    def _train(self, spec: ExperimentSpec) -> list:
        id = names.new_experiment_id()
        plan = planning.plan_for(spec, self.records, self.settings, id)
        bench = Bench(
            records=self.records,
            arrays=self._arrays,
            device=device.choose(self.settings),
            provenance={"experiment": id, "numerics": "reference"},
            tick=lambda: None,
            after_epoch=lambda row, seconds: None,
        )
        for segment in plan.segments:
            assert execute(bench, plan, segment)
        return numbers(self.records, plan)

    def _arrays(self, config):
        return datasets_cache.arrays(config, self.records.store, self.settings)
