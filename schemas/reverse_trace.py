"""What was measured with an instrument that turned out to be bad, and what becomes of it (ISO/IEC 17025, 7.10)."""

from datetime import date
from enum import StrEnum

from schemas.base import Identifier, Model, Text, UtcDateTime
from schemas.canonical import document_hash


class TraceDisposition(StrEnum):
    """What a person decides on one result: what is withdrawn or measured again is amended where the vault has it."""

    USE_AS_IS = "use_as_is"
    RETEST = "retest"
    WITHDRAW = "withdraw"


class TraceStart(Model):
    """Input of a `ReverseTraceWorkflow`: a calibration that found the instrument out of tolerance.

    `since` is the day of the last calibration that found and left it good; None where there never was one: then
    everything is in doubt that was ever measured with it.
    """

    trace_id: Identifier
    equipment_id: Identifier
    certificate_number: str
    since: date | None
    found_at: UtcDateTime


class TracedResult(Model):
    """One result in doubt, as the ledger knows it."""

    smart_contract_id: Identifier
    revision: int
    test_id: Identifier
    clientpo_id: Identifier
    node_id: Identifier
    package_id: str | None
    verdict: str
    content_hash: str
    submitted_at: UtcDateTime

    def decided_content(self, trace_id: str) -> str:
        """What a disposition decides on."""
        return document_hash({"trace_id": trace_id, "result": self.model_dump(mode="json")})


class DisposeTraced(Model):
    """A person's disposition of one result, with its decision token."""

    smart_contract_id: Identifier
    revision: int
    test_id: Identifier
    token: str | None = None
    reason: Text
