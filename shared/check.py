"""Whether what a store holds is whole: every object against its digest, every name against what
it names. Finds, and where that is wanted mends; training is left to workers."""

from collections.abc import Iterator

from shared.bookkeeping import Bookkeeping
from shared.dataset_check import Datasets
from shared.findings import Finding, Report
from shared.inspection import GRACE_SECONDS, Inspection
from shared.ledger import Ledger
from shared.lineage import Lineage
from shared.orphaned_data import OrphanedData
from shared.pace import Pace, Tick, nothing
from shared.settings import Settings
from shared.storage import Storage
from shared.survey import Survey
from shared.wanted import Ask, Wanted


def findings(
    store: Storage,
    settings: Settings,
    report: Report,
    ask: Ask,
    quick: bool = False,
    tick: Tick = nothing,
    grace_seconds: float = GRACE_SECONDS,
) -> Iterator[Finding]:
    """As they come; `report.tally` has the counts. `ask` has a worker make something again; `tick`
    is called now and then, and may raise to end it."""
    with Ledger(settings.scratch_dir) as ledger:
        pace = Pace(settings.check_share, tick)
        inspection = Inspection(store, ledger, report, pace, grace_seconds)
        yield from Survey(inspection, quick).everything()
        lineage = Lineage(inspection)
        yield from lineage.lost()
        yield from Bookkeeping(inspection).findings()
        yield from Datasets(inspection, quick).findings()
        yield from Wanted(inspection, settings, ask).findings()
        yield from lineage.orphans()
        yield from OrphanedData(inspection).findings()
