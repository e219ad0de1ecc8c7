"""Signing the ledger again and again, and telling a person when it cannot be signed.

The alert is an entry like every other, also in a ledger that is broken: it goes on growing, because releases must not
stop for it and because whoever tampers must not be able to switch the record off. What is appended does not mend it:
nothing is signed until it again extends what was signed, and the verifier finds the first bad entry whatever follows.

A ledger that is broken is so for every worker; a key is missing on one machine, and the signature of another one says
nothing of that.
"""

import asyncio
import logging
import socket

from sqlalchemy.ext.asyncio import AsyncEngine

from infra.alerts import Alerts, StandingAlerts
from infra.checkpoint import NoKey, checkpoint, newest_checkpoint
from infra.database import is_away
from infra.ledger import Ledger
from infra.settings import Settings
from infra.verify_export import Broken
from schemas.alert import Severity, cause_of

log = logging.getLogger(__name__)

BROKEN = "ledger_broken"
KEY_MISSING = "ledger_key_missing"
SUBJECT = "ledger"

REMEDIES = {
    NoKey: "Then it is signed again.",
    Broken: (
        "Run `smartfloor ledger verify`: it names the first bad entry. Change nothing in the database until it has "
        "been compared with a backup and with the checkpoints that are kept elsewhere."
    ),
}


async def keep_checkpoints(engine: AsyncEngine, ledger: Ledger, settings: Settings) -> None:
    """Runs until cancelled. A database that is away is waited for; an error that nobody foresaw is raised."""
    standing = StandingAlerts(Alerts(engine), ledger)
    while True:
        await asyncio.sleep(settings.checkpoint_every.total_seconds())
        try:
            await _sign(engine, standing, settings)
        except Exception as error:
            if not is_away(error):
                raise
            log.warning("no checkpoint now, the database is away: %s", error)


async def _sign(engine: AsyncEngine, standing: StandingAlerts, settings: Settings) -> None:
    host, file = socket.gethostname(), settings.ledger_key_file.absolute()
    broken, key_missing = cause_of(BROKEN, SUBJECT), cause_of(KEY_MISSING, host, str(file))
    try:
        await checkpoint(engine, settings)
    except (Broken, NoKey) as problem:
        log.critical("the ledger is not signed: %s", problem)
        no_key = isinstance(problem, NoKey)
        async with engine.connect() as connection:
            last = await newest_checkpoint(connection)
        signed = last.size if last else 0
        await standing.raise_once(
            KEY_MISSING if no_key else BROKEN,
            SUBJECT,
            f"The ledger is not signed by {host} beyond its first {signed} entries: {problem}. "
            f"{REMEDIES[type(problem)]}",
            severity=Severity.CRITICAL,
            source="worker",
            cause=key_missing if no_key else broken,
            metadata={"signed": signed},
        )
    else:
        for cause in (broken, key_missing):
            await standing.resolve(cause, "the ledger is signed again")
