"""Tests that were performed long ago, as their workflows record them: what a reverse trace searches."""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import count

from infra.ledger import Ledger
from schemas.changes.test_execution import ResultSubmitted, SignedOff, TestChanged, TestOpened
from schemas.changes.transfer import TransferOpened
from schemas.guardian import package_id
from schemas.ledger import LedgerEntry, Receipt
from schemas.record import Change, Record
from schemas.signoff import signed_content
from schemas.test_execution import TestStatus
from schemas.test_results import Begun, CurrentResult, Instrument, Reading, TestResult, TestVerdict

BAD, GOOD = "MICROMETER-07", "MICROMETER-08"
CALIBRATED = date(2026, 1, 10)
MIDDAY = datetime(2026, 3, 1, 12, tzinfo=UTC)


def instrument(name: str = BAD, calibrated_on: date = CALIBRATED) -> Instrument:
    return Instrument(
        equipment_id=name,
        equipment_type="micrometer",
        certificate=f"CAL-{name}-{calibrated_on}",
        calibrated_on=calibrated_on,
        due_on=calibrated_on + timedelta(days=365),
    )


class Past:
    """One contract's test; each step is a record that waits to be written."""

    def __init__(self, contract: str, *, order: str = "CPO-1", node: str = "NOD-TestStation-LP-01") -> None:
        self.contract = contract
        self.order = order
        self.node = node
        self.revision = 0
        self.begun: Begun | None = None
        self.hashes: dict[str, str] = {}
        self.records: list[Record] = []
        self._numbers = count(1)
        row = TestOpened(smart_contract_id=contract, clientpo_id=order, node_id=node, status=TestStatus.WAITING)
        self._add("await_test", "Waits for its test", {}, None, row)

    def start(self, *instruments: Instrument, at: datetime = MIDDAY, performer: str = "ines") -> "Past":
        self.begun = Begun(performer=performer, started_at=at, instruments=instruments, document_hash="d" * 64)
        row = self._row(TestStatus.RUNNING, performer=performer, begun=self.begun.model_dump_json())
        self._add("start_test", "Test started", {"begun": self.begun.model_dump(mode="json")}, at, row)
        return self

    def hold(self, reason: str) -> "Past":
        self._add("hold_test", f"On hold: {reason}", {}, None, self._row(TestStatus.HOLD, hold_reason=reason))
        return self

    def resume(self) -> "Past":
        self._add("resume_test", "Resumed", {}, None, self._row(TestStatus.RUNNING, hold_reason=None))
        return self

    def submit(self, *tests: str, at: datetime | None = None) -> "Past":
        """Accepted results; without a name, of the only test."""
        begun = self._begun
        at = at or begun.started_at + timedelta(hours=1)
        self.revision += 1
        results = []
        for test_id in tests or ("T-1",):
            result = TestResult(
                test_id=test_id,
                verdict=TestVerdict.ACCEPT,
                readings=(Reading.model_validate({"name": "depth", "value": "0.10", "unit": "mm"}),),
                procedure_followed=True,
            )
            current = CurrentResult(result=result, revision=self.revision)
            self.hashes[test_id] = signed_content(self.contract, begun, current)
            results.append(
                ResultSubmitted(
                    smart_contract_id=self.contract,
                    revision=self.revision,
                    test_id=test_id,
                    verdict=result.verdict,
                    result=result.model_dump_json(),
                    content_hash=self.hashes[test_id],
                    submitted_by=begun.performer,
                )
            )
        metadata = {
            "revision": self.revision,
            "content_hashes": {result.test_id: result.content_hash for result in results},
        }
        row = self._row(TestStatus.AWAITING_SIGNOFF, revision=self.revision)
        self._add("submit_results", "Results", metadata, at, row, *results)
        return self

    def sign(self, person: str, test_id: str = "T-1") -> "Past":
        signed = SignedOff(
            smart_contract_id=self.contract,
            test_id=test_id,
            role="inspector",
            person=person,
            decision="sign",
            meaning="approved",
            reason=None,
            content_hash=self.hashes[test_id],
            qualification=None,
        )
        self._add("sign_off", f"{test_id} approved by {person}", {"test_id": test_id}, None, signed)
        return self

    def authorize(self) -> "Past":
        package = package_id(self.contract, self.revision)
        moment = self._begun.started_at
        opened = TransferOpened(
            package_id=package,
            smart_contract_id=self.contract,
            clientpo_id=self.order,
            node_id=self.node,
            revision=self.revision,
            verdict=TestVerdict.ACCEPT,
            package="{}",
            content_hash="c" * 64,
            signed_at=moment,
            authorized_at=moment,
        )
        row = self._row(TestStatus.AUTHORIZED, package_id=package)
        self._add("authorize_package", "Authorized", {}, None, opened, row)
        return self

    @property
    def _begun(self) -> Begun:
        if self.begun is None:
            raise RuntimeError("it has not begun")
        return self.begun

    def _row(self, status: TestStatus, **columns: object) -> TestChanged:
        return TestChanged.model_validate({"smart_contract_id": self.contract, "status": status, **columns})

    def _add(
        self, action: str, details: str, metadata: Mapping[str, object], at: datetime | None, *changes: Change
    ) -> None:
        entry = LedgerEntry(
            idempotency_key=f"test/{self.contract}:{action}:{next(self._numbers)}",
            action_type="test",
            action=action,
            target=self.contract,
            details=details,
            smart_id=self.node,
            metadata=dict(metadata),
            occurred_at=at,
        )
        self.records.append(Record(entry=entry, changes=changes))


async def write(ledger: Ledger, pasts: Iterable[Past]) -> list[Receipt]:
    """All that waits, in order; the tests one after the other, in few transactions."""
    records = [record for past in pasts for record in past.records]
    for past in pasts:
        past.records = []
    return await asyncio.gather(*(ledger.record(record) for record in records))
