"""What schemathesis is to check beside its own: loaded by it in its process."""

from http import HTTPStatus
from typing import Any

import schemathesis

from api.security import OPEN

NOT_LET_IN = {HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
"""The last two where there is no such route."""


@schemathesis.check
def closed(_context: Any, response: Any, case: Any) -> None:
    """Nothing but the open routes answers whoever has no token."""
    if case.operation.path not in OPEN:
        assert response.status_code in NOT_LET_IN, f"open without a token: {case.method} {case.path}"
