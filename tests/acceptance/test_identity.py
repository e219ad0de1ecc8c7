"""Who is asking goes with what they ask, into the ledger; and who may not is kept out."""

import asyncio
import os
import sys
from datetime import datetime, timedelta
from typing import Any

import jwt

from infra.embedded.addresses import environment
from schemas.permission import Role
from tests.acceptance.floor import Floor, arrival, bearer, contract, new
from tests.acceptance.test_main_job import until_heard


class TestTheLedgerNames:
    async def test_who_staged_a_po(self, floor: Floor) -> None:
        hub = new("hub")
        document = contract()
        headers = bearer(floor.settings, Role.SERVICE, hub)
        answer = await floor.ask("POST", "/api/v1/client-pos", json=document, headers=headers)
        assert answer.status_code == 201
        [entry] = await floor.get("/api/v1/ledger/entries", target=document["smart_contract_id"])
        assert (entry["action"], entry["user_id"]) == ("stage_client_po", hub)

    async def test_who_reported_an_arrival_and_who_withdrew_it(self, floor: Floor) -> None:
        part, inspector = new("PART"), new("inspector")
        body = arrival(part_id=part)
        headers = bearer(floor.settings, Role.INSPECTOR, inspector)
        answer = await floor.ask("POST", "/api/v1/arrivals", json=body, headers=headers)
        assert answer.status_code == 202
        [received] = await floor.until_recorded(part, "receive_arrival")
        assert received["user_id"] == inspector
        assert (await floor.withdraw(body)).status_code == 200
        [withdrawn] = await floor.until_recorded(part, "withdraw_arrival")
        assert withdrawn["user_id"] == "maria"

    async def test_nobody_whom_the_body_of_a_request_names(self, floor: Floor) -> None:
        part = new("PART")
        body = arrival(part_id=part, user_id="ada")
        assert (await floor.ask("POST", "/api/v1/arrivals", json=body)).status_code == 202
        [received] = await floor.until_recorded(part, "receive_arrival")
        assert received["user_id"] == "maria"

    async def test_what_a_user_did_in_a_time(self, floor: Floor) -> None:
        user = new("supervisor")
        headers = bearer(floor.settings, Role.SUPERVISOR, user)
        po = await floor.stage()
        for what in ("hold", "resume", "hold"):
            path = f"/api/v1/client-pos/{po.name}/{what}"
            assert (await floor.ask("POST", path, json={"reason": what}, headers=headers)).status_code == 200
        third, second, first = await floor.get("/api/v1/ledger/entries", user=user)
        assert [first["action"], second["action"]] == ["hold_client_po", "resume_client_po"]

        async def found(**filters: Any) -> list[int]:
            return [entry["seq"] for entry in await floor.get("/api/v1/ledger/entries", user=user, **filters)]

        assert await found(action="hold_client_po") == [third["seq"], first["seq"]]
        assert await found(target=new("SC")) == []
        assert await found(since=second["recorded_at"]) == [third["seq"], second["seq"]]
        assert await found(until=second["recorded_at"]) == [first["seq"]]
        later = datetime.fromisoformat(third["recorded_at"]) + timedelta(microseconds=1)
        assert await found(since=later.isoformat()) == []


class TestTheSame:
    async def test_document_from_somebody_else_is_still_the_same_po(self, floor: Floor) -> None:
        po = await floor.stage()
        headers = bearer(floor.settings, Role.SERVICE, new("hub"))
        again = await floor.ask("POST", "/api/v1/client-pos", json=po.document, headers=headers)
        assert again.status_code == 200
        other = {**po.document, "client": "Somebody else"}
        assert (await floor.ask("POST", "/api/v1/client-pos", json=other, headers=headers)).status_code == 409
        assert await po.timeline() == ["stage_client_po"]

    async def test_idempotency_key_of_somebody_else_is_another(self, floor: Floor) -> None:
        po = await floor.stage()
        path, key = f"/api/v1/client-pos/{po.name}/hold", {"Idempotency-Key": "1"}
        ada = bearer(floor.settings, Role.SUPERVISOR, "ada")
        assert (await floor.ask("POST", path, json={"reason": "r"}, headers=key)).status_code == 200
        assert (await floor.ask("POST", path, json={"reason": "r"}, headers=key)).status_code == 200
        assert (await floor.ask("POST", path, json={"reason": "r"}, headers={**ada, **key})).status_code == 409


class TestWhoMayNot:
    async def test_is_alerted_once_when_they_try_again_and_again(self, floor: Floor) -> None:
        mallory = new("mallory")
        headers = bearer(floor.settings, Role.OPERATOR, mallory)
        async with floor.listening() as heard:
            for _ in range(20):
                answer = await floor.ask("GET", "/api/v1/ledger/entries", headers=headers)
                assert answer.status_code == 403
            alert = await until_heard(heard, on="smart/alertbroadcast/high", subject=mallory)
            assert "operator lacks ledger:read" in alert["text"]
        assert len(await floor.get("/api/v1/ledger/entries", target=mallory, action="refuse_access")) == 1

    async def test_is_counted_in_the_metrics(self, floor: Floor) -> None:
        await floor.http.get("/api/v1/staging-queue", headers={"Authorization": ""})
        text = (await floor.http.get("/metrics")).text
        counts = [line for line in text.splitlines() if line.startswith("smartfloor_access_refused_total")]
        assert any('permission="job:view"' in line and 'status_code="401"' in line for line in counts)


class TestTheCommandLine:
    async def token(self, floor: Floor, *options: str, **settings: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "workers.cli", "token", *options),
            env={**os.environ, **environment(floor.settings), **settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def test_prints_a_token_that_the_api_takes_alone_on_its_last_line(self, floor: Floor) -> None:
        status, output = await self.token(floor, "--role", "operator", "--user", "ada")
        assert status == 0
        headers = {"Authorization": f"Bearer {output.splitlines()[-1]}"}
        assert (await floor.ask("GET", "/api/v1/staging-queue", headers=headers)).status_code == 200
        assert (await floor.ask("GET", "/api/v1/ledger/entries", headers=headers)).status_code == 403

    async def test_prints_one_that_expires_when_it_is_told(self, floor: Floor) -> None:
        _, output = await self.token(floor, "--role", "operator", "--user", "ada", "--ttl", "90")
        claims = jwt.decode(output.splitlines()[-1], options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == 90

    async def test_prints_none_for_a_role_or_a_name_that_there_cannot_be(self, floor: Floor) -> None:
        assert await self.token(floor, "--role", "root", "--user", "ada") == (2, "")
        assert await self.token(floor, "--role", "admin", "--user", "ada lovelace") == (2, "")

    async def test_prints_none_where_an_issuer_does_that(self, floor: Floor) -> None:
        issuer = {
            "SMARTFLOOR_OIDC_ISSUER": "https://login.example",
            "SMARTFLOOR_OIDC_JWKS_URL": "https://login.example/jwks",
        }
        assert await self.token(floor, "--role", "admin", "--user", "ada", **issuer) == (1, "")
