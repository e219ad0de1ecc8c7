"""Signing the ledger again and again, and telling a person when it cannot be signed.

The alert is an entry like every other, also in a ledger that is broken: it goes on growing, because releases must not
stop for it and because whoever tampers must not be able to switch the record off. What is appended does not mend it:
nothing is signed until it again extends what was signed, and the verifier finds the first bad entry whatever follows.
"""

import asyncio
import logging
from contextlib import suppress

from sqlalchemy.ext.asyncio import AsyncEngine

from infra.alerts import Alerts, resolution
from infra.checkpoint import NoKey, checkpoint, newest_checkpoint
from infra.database import is_away
from infra.ledger import Ledger, LedgerConflict
from infra.settings import Settings
from infra.verify_export import Broken
from schemas.alert import Alert, Severity, cause_of
from schemas.ledger import LedgerEntry
from schemas.record import AlertRaised, Record

log = logging.getLogger(__name__)

BROKEN = "ledger_broken"
KEY_MISSING = "ledger_key_missing"
SUBJECT = "ledger"


async def keep_checkpoints(engine: AsyncEngine, ledger: Ledger, settings: Settings) -> None:
    """Runs until cancelled. A database that is away is waited for; an error that nobody foresaw is raised."""
    alerts = Alerts(engine)
    while True:
        await asyncio.sleep(settings.checkpoint_every.total_seconds())
        try:
            await _sign(engine, alerts, ledger, settings)
        except Exception as error:
            if not is_away(error):
                raise
            log.warning("no checkpoint now, the database is away: %s", error)


async def _sign(engine: AsyncEngine, alerts: Alerts, ledger: Ledger, settings: Settings) -> None:
    try:
        await checkpoint(engine, settings)
    except (Broken, NoKey) as problem:
        log.critical("the ledger is not signed: %s", problem)
        async with engine.connect() as connection:
            last = await newest_checkpoint(connection)
        alert_type = KEY_MISSING if isinstance(problem, NoKey) else BROKEN
        if (number := await alerts.next_of(cause_of(alert_type, SUBJECT))) is None:
            return
        with suppress(LedgerConflict):  # told already, by a release that worded it otherwise
            await ledger.record(_not_signed(problem, last.size if last else 0, number))
    else:
        for alert_type in (BROKEN, KEY_MISSING):
            for alert in await alerts.open_of_type(alert_type):
                await ledger.record(resolution(alert, "the ledger is signed again"))


def _not_signed(problem: Broken | NoKey, signed: int, number: int) -> Record:
    """Numbered, because what was mended may break again, also after the same checkpoint."""
    if isinstance(problem, NoKey):
        alert_type, cause, remedy = KEY_MISSING, "the key is missing", "Then it is signed again."
    else:
        alert_type, cause = BROKEN, "it does not extend what was signed"
        remedy = (
            "Run `smartfloor ledger verify`: it names the first bad entry. Change nothing in the database until it has "
            "been compared with a backup and with the checkpoints that are kept elsewhere."
        )
    event = f"{alert_type}:{signed}:{number}"
    return Record(
        entry=LedgerEntry(
            idempotency_key=event,
            action_type="ledger",
            action="checkpoint_refused",
            target=SUBJECT,
            details=f"The ledger is not signed beyond its first {signed} entries: {cause}",
            metadata={"signed": signed},
        ),
        changes=(
            AlertRaised(
                alert=Alert(
                    alert_id=event,
                    alert_type=alert_type,
                    severity=Severity.CRITICAL,
                    source="worker",
                    subject=SUBJECT,
                    text=f"The ledger is not signed beyond its first {signed} entries: {problem}. {remedy}",
                )
            ),
        ),
    )
