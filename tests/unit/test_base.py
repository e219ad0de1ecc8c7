"""The value types that every model is built from."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.base import UtcDateTime

TIME: TypeAdapter[datetime] = TypeAdapter(UtcDateTime)


def test_a_time_is_kept_in_utc() -> None:
    assert TIME.validate_python("2026-01-31T08:00:00+02:00") == datetime(2026, 1, 31, 6, tzinfo=UTC)


@pytest.mark.parametrize("value", [0, 1.5, True, 10**400, "0", "1769846400", "1e3", "nan", "2026-01-31T08:00:00"])
def test_a_time_that_leaves_something_to_guess_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        TIME.validate_python(value)
