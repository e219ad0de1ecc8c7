"""Tests as people list and look at them: their rows, results and sign-offs."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.database import Row, many, page, rows
from infra.tables.test_execution import test_results, test_signoffs, tests
from schemas.signoff import SignOffDecision, signed_content
from schemas.test_execution import TERMINAL
from schemas.test_results import Begun, CurrentResult, TestResult


@dataclass(frozen=True)
class TestRecord:
    """The row of a test, the results of all revisions, and all decisions on them, the oldest first."""

    __test__ = False

    row: Row
    results: list[Row]
    signoffs: list[Row]

    def current(self) -> dict[str, str]:
        """By test, the content hash of the results that count: what a sign-off signs.

        Results do not count any more when newer ones came, when somebody rejected them, or when the test began anew.
        """
        if self.row["begun"] is None:
            return {}
        begun = Begun.model_validate_json(self.row["begun"])
        rejected = {one["content_hash"] for one in self.signoffs if one["decision"] == SignOffDecision.REJECT}
        newest = {result["test_id"]: result for result in self.results}
        return {
            test_id: result["content_hash"]
            for test_id, result in newest.items()
            if result["content_hash"] == self._content(begun, result) and result["content_hash"] not in rejected
        }

    def _content(self, begun: Begun, result: Row) -> str:
        current = CurrentResult(result=TestResult.model_validate_json(result["result"]), revision=result["revision"])
        return signed_content(self.row["smart_contract_id"], begun, current)

    def signed(self) -> set[tuple[str, str]]:
        """Test and role of the sign-offs that count."""
        return {
            (one["test_id"], one["role"])
            for one in self.signoffs
            if one["decision"] == SignOffDecision.SIGN and one["void_at"] is None
        }


class Tests:
    """Written only through the ledger's `record`."""

    __test__ = False

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def get(self, smart_contract_id: str) -> TestRecord | None:
        """One test, with all that was measured and decided; None where the contract is not at its node."""
        row = select(tests).where(tests.c.smart_contract_id == smart_contract_id)
        results = (
            select(test_results)
            .where(test_results.c.smart_contract_id == smart_contract_id)
            .order_by(test_results.c.revision, test_results.c.test_id)
        )
        signoffs = (
            select(test_signoffs)
            .where(test_signoffs.c.smart_contract_id == smart_contract_id)
            .order_by(test_signoffs.c.entry)
        )
        async with self._engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")  # else they are of different times
            found = await rows(connection, row)
            if not found:
                return None
            return TestRecord(
                row=found[0], results=await rows(connection, results), signoffs=await rows(connection, signoffs)
            )

    async def not_terminal(self, *, after: str = "", limit: int = 500) -> list[Row]:
        """Rows whose workflow should be open, by ID from `after` on."""
        query = (
            select(tests)
            .where(tests.c.status.not_in([status.value for status in TERMINAL]))
            .where(tests.c.smart_contract_id > after)
            .order_by(tests.c.smart_contract_id)
            .limit(limit)
        )
        return await many(self._engine, query)

    async def find(
        self,
        *,
        status: str | None = None,
        node: str | None = None,
        clientpo_id: str | None = None,
        limit: int,
        offset: int,
    ) -> tuple[int, list[Row]]:
        """One page, the oldest first, and how many there are in all."""
        wanted = {tests.c.status: status, tests.c.node_id: node, tests.c.clientpo_id: clientpo_id}
        conditions = [column == value for column, value in wanted.items() if value is not None]
        order = (tests.c.opened_at, tests.c.smart_contract_id)
        query = select(tests).where(*conditions).order_by(*order)
        return await page(self._engine, query, limit=limit, offset=offset)
