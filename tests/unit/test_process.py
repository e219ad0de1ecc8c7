"""What is waited for, and what is not."""

import pytest
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError
from temporalio.service import RPCError, RPCStatusCode

from workers.process import is_away


class TestAServerThatIsAway:
    @pytest.mark.parametrize("status", [RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED])
    def test_is_told_by_what_temporal_answers(self, status: RPCStatusCode) -> None:
        assert is_away(RPCError("come again", status, b""))

    def test_is_told_by_a_connection_that_is_refused(self) -> None:
        assert is_away(ConnectionRefusedError())

    @pytest.mark.parametrize("status", [RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.INVALID_ARGUMENT])
    def test_is_not_one_that_refuses_what_it_is_asked(self, status: RPCStatusCode) -> None:
        assert not is_away(RPCError("no", status, b""))

    @pytest.mark.parametrize("kind", [ProgrammingError, IntegrityError])
    def test_is_not_a_database_that_cannot_do_what_it_is_asked(self, kind: type[SQLAlchemyError]) -> None:
        assert not is_away(kind("SELECT", {}, Exception("no such column")))
