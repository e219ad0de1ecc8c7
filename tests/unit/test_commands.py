"""`smartfloor ...`: how processes are started."""

from typing import Any

import pytest
import uvicorn
from httpx import Limits
from typer.testing import CliRunner

from workers.cli import app


def test_the_api_lets_a_connection_rest_longer_than_those_who_ask_do(monkeypatch: pytest.MonkeyPatch) -> None:
    started: dict[str, Any] = {}
    monkeypatch.setattr(uvicorn, "run", lambda _, **options: started.update(options))
    assert CliRunner().invoke(app, ["api"]).exit_code == 0
    assert uvicorn.Config("", **started).timeout_keep_alive > (Limits().keepalive_expiry or 0)
