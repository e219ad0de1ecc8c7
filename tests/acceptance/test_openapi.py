"""The API answers as its OpenAPI document says, whatever it is sent, and nobody without a token (schemathesis)."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from schemas.permission import Role
from tests.acceptance import openapi_checks
from tests.acceptance.conftest import running_shop
from tests.acceptance.floor import Floor, bearer

EXAMPLES = 25
"""Requests to each operation of each kind that Hypothesis makes up, beside those that cover the document."""


async def schemathesis(floor: Floor, folder: Path, *options: str) -> tuple[int, str]:
    """Exit status and report of a run; the same requests every time."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{floor.settings.api_url}/openapi.json"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--generation-deterministic"),
        *("--continue-on-failure", "--no-color", "--warnings", "off", *options),
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SCHEMATHESIS_HOOKS": openapi_checks.__name__,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    report, _ = await process.communicate()
    return process.returncode or 0, report.decode()


@pytest_asyncio.fixture(scope="module")
async def floor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Floor]:
    """A shop of its own: an admin who tries out everything also holds the tests of others, and moves their lamps."""
    async with running_shop(tmp_path_factory.mktemp("shop")) as floor:
        yield floor


@pytest.mark.timeout(600)  # it grows with the operations
class TestTheApi:
    async def test_answers_as_it_is_documented_whatever_it_is_sent(self, floor: Floor, tmp_path: Path) -> None:
        token = bearer(floor.settings, Role.ADMIN, "schemathesis")["Authorization"]
        # What a document cannot say, that a part_id is one part for example, makes requests bad that look good.
        checks = ("--checks", "all", "--exclude-checks", "positive_data_acceptance,closed")
        status, report = await schemathesis(floor, tmp_path, "--header", f"Authorization: {token}", *checks)
        assert status == 0, report
        paths = (await floor.get("/openapi.json"))["paths"]
        assert f"{sum(len(operations) for operations in paths.values())} passed" in report

    async def test_lets_nobody_in_without_a_token_whatever_they_send(self, floor: Floor, tmp_path: Path) -> None:
        status, report = await schemathesis(floor, tmp_path, "--checks", "closed,not_a_server_error")
        assert status == 0, report
