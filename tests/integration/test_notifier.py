"""The notifier between a real Postgres and real receivers on the loopback: an SMTP server, and HTTP servers."""

import asyncio
import base64
import contextlib
import json
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import pytest_asyncio
import yaml
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from standardwebhooks import Webhook as Verifier
from temporalio.client import Client

from infra import alerts
from infra.alerts import AlertOutbox, Alerts, acknowledgement
from infra.database import create_engine
from infra.embedded.ports import port
from infra.ledger import Ledger
from infra.settings import Settings
from schemas.alert import Alert, Severity
from schemas.changes.alert import AlertRaised, AlertResolved
from schemas.ledger import LedgerEntry
from schemas.names import ALERT_TOPIC
from schemas.record import Change, Record
from workers import gateway, notifier
from workers.notifier import keep_notifying

SECRET = "whsec_" + base64.b64encode(b"only the two of us know this one").decode()
LEAD, MANAGER = "lead@shop.example", "manager@shop.example"


@dataclass
class Mailbox:
    """An SMTP server's handler; while it is closed it takes nothing."""

    letters: list[Message] = field(default_factory=list)
    closed: bool = False

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.closed:
            return "451 come again later"
        self.letters.append(message_from_bytes(envelope.content, policy=default))
        return "250 taken"

    def to(self, address: str) -> list[str]:
        """The subjects of what was sent there."""
        return [letter["Subject"] for letter in self.letters if letter["To"] == address]


class Hook(ThreadingHTTPServer):
    """An HTTP server; it answers as told, or hangs until it may answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.answers = 200
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.posts: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/alerts"

    def events(self) -> list[str]:
        return [json.loads(body)["event"] for _, body in self.posts]


class _Post(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posts.append((dict(self.headers.items()), body))
        self.server.may_answer.wait(30)
        with contextlib.suppress(OSError):  # whoever asked may be gone
            self.send_response(self.server.answers)
            self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.may_answer.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def smtp_port(mailbox: Mailbox) -> Iterator[int]:
    controller = Controller(mailbox, hostname="127.0.0.1", port=port())
    controller.start()
    yield controller.port
    controller.stop()


PASSWORD = "correct horse"


class GuardedMailbox(Mailbox):
    """Takes letters from whoever has logged in."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if not session.authenticated:
            return "530 log in first"
        return await super().handle_DATA(server, session, envelope)


def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, login: LoginPassword) -> AuthResult:
    return AuthResult(success=login == LoginPassword(b"smartfloor", PASSWORD.encode()), handled=False)


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    """Of a server that signed it itself; for its clients it lies in `mail.pem`."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.shop.example")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    valid = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    signed = valid.add_extension(address, critical=False).sign(key, hashes.SHA256())
    (tmp_path / "mail.pem").write_bytes(signed.public_bytes(Encoding.PEM))
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "mail.key").write_bytes(secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "mail.pem", tmp_path / "mail.key")
    return context


@dataclass
class GuardedServer:
    """A mail server with TLS and logins, and how it is named in the settings."""

    mailbox: GuardedMailbox
    settings: dict[str, Any]


@pytest.fixture(params=["starttls", "tls"])
def guarded(request: pytest.FixtureRequest, certificate: ssl.SSLContext, tmp_path: Path) -> Iterator[GuardedServer]:
    mailbox, free = GuardedMailbox(), port()
    how: dict[str, Any] = {"ssl_context": certificate}
    if request.param == "starttls":
        how = {"tls_context": certificate, "require_starttls": True}
    controller = Controller(
        mailbox, hostname="127.0.0.1", port=free, authenticator=authenticate, auth_require_tls=False, **how
    )
    controller.start()
    (tmp_path / "mail.password").write_text(PASSWORD + "\n")
    named = {"host": "127.0.0.1", "port": free, "security": request.param, "ca_file": "mail.pem"}
    login = {"sender": "smartfloor@shop.example", "user": "smartfloor", "password_file": "mail.password"}
    yield GuardedServer(mailbox, named | login)
    controller.stop()


@pytest_asyncio.fixture
async def engine(database: Settings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database.database_writer_url)
    yield engine
    await engine.dispose()


class Floor:
    """A ledger, a settings file, and a notifier that can be started and killed."""

    def __init__(
        self, engine: AsyncEngine, ledger: Ledger, client: Client, file: Path, settings: Settings, plan: dict[str, Any]
    ) -> None:
        self.engine = engine
        self.ledger = ledger
        self.alerts = Alerts(engine)
        self.plan = plan
        self._client = client
        self.file = file
        self._settings = settings.model_copy(update={"notifications_file": file})

    @asynccontextmanager
    async def notifier(self) -> AsyncIterator[None]:
        """Runs, and is gone at the end in the middle of whatever it does."""
        self.file.write_text(yaml.safe_dump(self.plan))
        running = asyncio.create_task(keep_notifying(self.engine, self.ledger, self._client, self._settings))
        try:
            yield
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    async def record(self, key: str, *changes: Change) -> None:
        entry = LedgerEntry(idempotency_key=key, action_type="t", action="a", target="SC-1", details="released to LP")
        await self.ledger.record(Record(entry=entry, changes=changes))

    async def report(self, event: str = "E-1", severity: Severity = Severity.HIGH, cause: str = "c") -> None:
        alert = Alert(
            alert_id=event,
            alert_type="release_failed",
            severity=severity,
            source="s",
            subject="SC-1",
            text="start it",
            cause=cause,
        )
        await self.record(event, AlertRaised(alert=alert))

    async def resolve(self, cause: str = "c") -> None:
        await self.record(f"{cause} is gone", AlertResolved(cause=cause))

    async def execute(self, sql: str) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(text(sql))

    async def time_passes(self) -> None:
        """Whatever waits for its next attempt need not wait any longer."""
        await self.execute("UPDATE alert_deliveries SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL")

    async def deliveries(self, event: str = "E-1") -> dict[str, dict[str, Any]]:
        """By event and receiver."""
        return {f"{row['event']} {row['receiver']}": row for row in await self.alerts.deliveries(event)}

    async def attempted(self, times: int, receiver: str) -> None:
        async def attempts() -> int:
            found = (await self.deliveries()).get(f"raised {receiver}", {"attempts": 0, "error": None})
            return int(found["attempts"]) if found["error"] else 0

        await until(attempts, lambda found: found >= times)


@pytest_asyncio.fixture
async def floor(
    engine: AsyncEngine, client: Client, settings: Settings, tmp_path: Path, hook: Hook, smtp_port: int
) -> AsyncIterator[Floor]:
    (tmp_path / "andon.secret").write_text(SECRET + "\n")
    plan = {
        "escalation": {"after": {"high": "PT1H"}, "next": {"supervisor": "production_manager"}},
        "mail_server": {
            "host": "127.0.0.1",
            "port": smtp_port,
            "security": "none",
            "sender": "smartfloor@shop.example",
        },
        "webhooks": {"andon": {"url": hook.url, "secret_file": "andon.secret"}},
        "routes": [
            {"owners": ["supervisor"], "email": [LEAD], "webhooks": ["andon"]},
            {"owners": ["production_manager"], "email": [MANAGER]},
        ],
    }
    async with Ledger(engine, recorder="gateway", smart_id="FLOOR-HUB-01") as ledger:
        yield Floor(engine, ledger, client, tmp_path / "notifications.yaml", settings, plan)


async def until(look: Callable[[], Awaitable[Any]], true: Callable[[Any], bool] = bool, within: float = 20) -> Any:
    found = None
    try:
        async with asyncio.timeout(within):
            while not true(found := await look()):
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"not within {within} s; seen last: {found}")
    return found


async def seen(what: Callable[[], list[Any]], wanted: list[Any]) -> None:
    async def look() -> list[Any]:
        return list(what())

    await until(look, lambda found: found == wanted)


class TestAnAlert:
    async def test_is_mailed_to_its_owner_with_what_to_do(self, floor: Floor, mailbox: Mailbox) -> None:
        async with floor.notifier():
            await floor.report()
            await seen(lambda: mailbox.to(LEAD), ["[HIGH] release_failed: SC-1"])
        assert "start it" in mailbox.letters[0].as_string()
        assert mailbox.to(MANAGER) == []

    async def test_is_posted_with_a_signature_that_the_receiver_can_verify(self, floor: Floor, hook: Hook) -> None:
        async with floor.notifier():
            await floor.report()
            await seen(hook.events, ["raised"])
        headers, body = hook.posts[0]
        assert Verifier(SECRET).verify(body, headers)["text"] == "start it"
        assert {name.lower(): value for name, value in headers.items()}["webhook-id"] == "1:raised"

    async def test_that_is_reported_again_and_again_is_sent_once(
        self, floor: Floor, mailbox: Mailbox, hook: Hook
    ) -> None:
        async with floor.notifier():
            for number in range(5):
                await floor.report(f"E-{number}")
            await floor.report("last", cause="another")
            await seen(hook.events, ["raised", "raised"])
            await seen(lambda: mailbox.to(LEAD), ["[HIGH] release_failed: SC-1"] * 2)

    async def test_that_is_resolved_is_over_for_all_who_were_told(
        self, floor: Floor, mailbox: Mailbox, hook: Hook
    ) -> None:
        async with floor.notifier():
            await floor.report()
            await seen(hook.events, ["raised"])
            await floor.resolve()
            await seen(hook.events, ["raised", "resolved"])
            await seen(lambda: mailbox.to(LEAD), ["[HIGH] release_failed: SC-1", "[RESOLVED] release_failed: SC-1"])
        assert mailbox.to(MANAGER) == []

    async def test_that_is_resolved_before_a_receiver_is_back_is_not_told_as_raised_any_more(
        self, floor: Floor, mailbox: Mailbox
    ) -> None:
        mailbox.closed = True
        async with floor.notifier():
            await floor.report()
            await floor.attempted(1, f"email:{LEAD}")
            mailbox.closed = False
            await floor.resolve()
            await seen(lambda: mailbox.to(LEAD), ["[RESOLVED] release_failed: SC-1"])
            await floor.time_passes()
            await floor.report("E-2", cause="the next")
            await seen(lambda: mailbox.to(LEAD), ["[RESOLVED] release_failed: SC-1", "[HIGH] release_failed: SC-1"])
            assert "id: 2" in mailbox.letters[-1].as_string()

    async def test_that_is_over_before_anybody_was_told_is_told_to_nobody(self, floor: Floor, hook: Hook) -> None:
        await floor.report()
        await floor.resolve()
        await floor.report("E-2", cause="another")
        async with floor.notifier():
            await seen(hook.events, ["raised"])
            await until(lambda: routed(floor))
        assert await floor.deliveries() == {}

    async def test_for_a_shift_that_is_off_waits_for_it(self, floor: Floor, mailbox: Mailbox, hook: Hook) -> None:
        on, off = shifts_around_now()
        floor.plan["shifts"] = {"early": off}
        floor.plan["routes"][0] = {"owners": ["supervisor"], "shifts": ["early"], "email": [LEAD]}
        floor.plan["routes"].append({"severities": ["low"], "webhooks": ["andon"]})
        async with floor.notifier():
            await floor.report()
            await floor.report("E-2", Severity.LOW, cause="one that was raised later")
            await seen(hook.events, ["raised"])
        assert mailbox.to(LEAD) == []
        floor.plan["shifts"] = {"early": on}
        async with floor.notifier():
            await seen(lambda: mailbox.to(LEAD), ["[HIGH] release_failed: SC-1"])

    @pytest.mark.parametrize("settled", ["acknowledged", "resolved"])
    async def test_for_a_shift_that_is_off_need_not_wait_when_it_is(self, floor: Floor, settled: str) -> None:
        _, off = shifts_around_now()
        floor.plan["shifts"] = {"early": off}
        floor.plan["routes"] = [{"shifts": ["early"], "email": [LEAD]}]
        async with floor.notifier():
            await floor.report()
            if settled == "resolved":
                await floor.resolve()
            else:
                alert = await floor.alerts.get(1)
                assert alert
                await floor.ledger.record(acknowledgement(alert, "maria", None))
            await until(lambda: routed(floor))
        assert await floor.deliveries() == {}

    async def test_for_whom_nobody_is_on_duty_is_sent_to_nobody(self, floor: Floor) -> None:
        floor.plan["routes"] = []
        async with floor.notifier():
            await floor.report()
            await until(lambda: routed(floor))
        assert await floor.deliveries() == {}


def shifts_around_now() -> tuple[dict[str, Any], dict[str, Any]]:
    """One that is on, and one that is off, for hours yet."""
    now = datetime.now(UTC)

    def at(hours: int) -> str:
        return f"{now + timedelta(hours=hours):%H:%M}"

    return {"from": at(-6), "to": at(6)}, {"from": at(6), "to": at(12)}


async def routed(floor: Floor) -> bool:
    async with floor.engine.connect() as connection:
        return bool(await connection.scalar(text("SELECT bool_and(routed_at IS NOT NULL) FROM alert_messages")))


class TestAReceiverThatFails:
    async def test_gets_it_when_it_is_back(self, floor: Floor, mailbox: Mailbox) -> None:
        mailbox.closed = True
        async with floor.notifier():
            await floor.report()
            await floor.attempted(1, f"email:{LEAD}")
            mailbox.closed = False
            await floor.time_passes()
            await seen(lambda: mailbox.to(LEAD), ["[HIGH] release_failed: SC-1"])

    async def test_is_not_asked_again_before_its_pause_is_over(self, floor: Floor, hook: Hook) -> None:
        hook.answers = 500
        async with floor.notifier():
            await floor.report()
            await floor.attempted(1, "webhook:andon")
            delivery = (await floor.deliveries())["raised webhook:andon"]
            assert delivery["next_attempt_at"] - delivery["occurred_at"] >= alerts.FIRST_PAUSE
            await floor.time_passes()
            await floor.attempted(2, "webhook:andon")
            again = (await floor.deliveries())["raised webhook:andon"]
            assert again["next_attempt_at"] - delivery["next_attempt_at"] >= alerts.FIRST_PAUSE
            assert "500" in again["error"]

    async def test_leaves_no_trace_of_its_secret_address(
        self, floor: Floor, hook: Hook, caplog: pytest.LogCaptureFixture
    ) -> None:
        hook.answers = 404
        floor.plan["webhooks"]["andon"]["url"] = hook.url.replace("//", "//user:s3cret@")
        async with floor.notifier():
            await floor.report()
            await floor.attempted(1, "webhook:andon")
        assert (await floor.deliveries())["raised webhook:andon"]["error"] == "HTTP 404"
        assert "s3cret" not in caplog.text

    async def test_that_cannot_be_connected_to_is_said_by_what_happened(self, floor: Floor, hook: Hook) -> None:
        floor.plan["webhooks"]["andon"]["url"] = f"http://127.0.0.1:{port()}/s3cret"
        async with floor.notifier():
            await floor.report()
            await floor.attempted(1, "webhook:andon")
        assert (await floor.deliveries())["raised webhook:andon"]["error"] == "ConnectError"

    async def test_that_refuses_a_letter_is_said_by_its_code(self, floor: Floor, mailbox: Mailbox) -> None:
        mailbox.closed = True
        async with floor.notifier():
            await floor.report()
            await floor.attempted(1, f"email:{LEAD}")
        assert (await floor.deliveries())[f"raised email:{LEAD}"]["error"] == "SMTP 451"

    async def test_gets_it_after_a_restart_too(self, floor: Floor, hook: Hook) -> None:
        hook.answers = 503
        async with floor.notifier():
            await floor.report()
            await floor.attempted(1, "webhook:andon")
        hook.answers = 200
        await floor.time_passes()
        async with floor.notifier():
            await seen(hook.events, ["raised", "raised"])
            await until(lambda: delivered(floor, "webhook:andon"))

    async def test_holds_up_nobody_else(self, floor: Floor, mailbox: Mailbox, hook: Hook) -> None:
        hook.may_answer.clear()
        async with floor.notifier():
            await floor.report()
            await seen(hook.events, ["raised"])
            for number in range(3):
                await floor.report(f"more-{number}", cause=f"more-{number}")
            await seen(lambda: mailbox.to(LEAD), ["[HIGH] release_failed: SC-1"] * 4)
            hanging = (await floor.deliveries())["raised webhook:andon"]
            assert (hanging["attempts"], hanging["error"]) == (1, None)  # it hangs still

    async def test_is_given_up_in_the_end(self, floor: Floor, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(alerts, "ATTEMPTS", 2)
        hook.answers = 500
        async with floor.notifier():
            await floor.report()
            await floor.attempted(1, "webhook:andon")
            await floor.time_passes()
            await floor.attempted(2, "webhook:andon")

            async def next_attempt() -> object:
                return (await floor.deliveries())["raised webhook:andon"]["next_attempt_at"]

            await until(next_attempt, lambda found: found is None)
        assert (await floor.deliveries())["raised webhook:andon"]["delivered_at"] is None

    async def test_is_alerted_on_the_broker_alone_until_it_is_reached_again(
        self, floor: Floor, hook: Hook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(alerts, "ATTEMPTS", 1)
        hook.answers = 500

        async def states() -> list[str]:
            _, found = await floor.alerts.page(alert_type="receiver_unreachable", limit=9, offset=0)
            return [alert["state"] for alert in found]

        floor.plan["routes"] = [{"webhooks": ["andon"]}]
        async with floor.notifier():
            await floor.report()
            await until(states, lambda found: found == ["raised"])
            hook.answers = 200
            await floor.report("E-2", cause="the next")
            await until(states, lambda found: found == ["resolved"])
            await until(lambda: routed(floor))
        assert await floor.deliveries("receiver_unreachable:webhook:andon:0") == {}

    async def test_is_not_asked_again_by_one_that_died_in_the_last_attempt(
        self, floor: Floor, hook: Hook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(alerts, "ATTEMPTS", 1)
        hook.may_answer.clear()
        async with floor.notifier():
            await floor.report()
            await seen(hook.events, ["raised"])
        assert (await floor.deliveries())["raised webhook:andon"]["next_attempt_at"] is None

    async def test_that_the_settings_name_no_longer_is_given_up_at_once(self, floor: Floor, hook: Hook) -> None:
        hook.answers = 500
        async with floor.notifier():
            await floor.report()
            await floor.attempted(1, "webhook:andon")
        floor.plan |= {"webhooks": {}, "routes": []}
        await floor.time_passes()
        async with floor.notifier():
            await floor.attempted(2, "webhook:andon")
        delivery = (await floor.deliveries())["raised webhook:andon"]
        assert "do not name" in delivery["error"]
        assert delivery["next_attempt_at"] is None


class TestAMailServerWithTLSAndLogins:
    async def test_takes_what_there_is_to_tell(self, floor: Floor, guarded: GuardedServer) -> None:
        floor.plan["mail_server"] = guarded.settings
        async with floor.notifier():
            await floor.report()
            await seen(lambda: guarded.mailbox.to(LEAD), ["[HIGH] release_failed: SC-1"])

    async def test_that_refuses_the_password_is_asked_again_and_gets_it_with_the_right_one(
        self, floor: Floor, guarded: GuardedServer
    ) -> None:
        floor.plan["mail_server"] = guarded.settings
        password = floor.file.parent / "mail.password"
        password.write_text("wrong")
        async with floor.notifier():
            await floor.report()
            await floor.attempted(1, f"email:{LEAD}")
        delivery = (await floor.deliveries())[f"raised email:{LEAD}"]
        assert (delivery["error"], delivery["delivered_at"]) == ("SMTP 535", None)
        assert delivery["next_attempt_at"] is not None
        password.write_text(PASSWORD)
        await floor.time_passes()
        async with floor.notifier():
            await seen(lambda: guarded.mailbox.to(LEAD), ["[HIGH] release_failed: SC-1"])

    async def test_that_nobody_vouches_for_is_told_nothing(self, floor: Floor, guarded: GuardedServer) -> None:
        floor.plan["mail_server"] = {name: value for name, value in guarded.settings.items() if name != "ca_file"}
        async with floor.notifier():
            await floor.report()
            await floor.attempted(1, f"email:{LEAD}")
        assert guarded.mailbox.letters == []


async def delivered(floor: Floor, receiver: str) -> bool:
    return (await floor.deliveries())[f"raised {receiver}"]["delivered_at"] is not None


class TestANotifierThatDies:
    async def test_during_an_attempt_makes_another_after_the_pause(self, floor: Floor, hook: Hook) -> None:
        hook.may_answer.clear()
        async with floor.notifier():
            await floor.report()
            await seen(hook.events, ["raised"])
        hook.may_answer.set()
        delivery = (await floor.deliveries())["raised webhook:andon"]
        assert (delivery["attempts"], delivery["delivered_at"]) == (1, None)
        await floor.time_passes()
        async with floor.notifier():
            await until(lambda: delivered(floor, "webhook:andon"))
        assert [headers["webhook-id"] for headers, _ in hook.posts] == ["1:raised"] * 2

    async def test_leaves_what_was_raised_meanwhile_to_the_next(self, floor: Floor, mailbox: Mailbox) -> None:
        await floor.report()
        async with floor.notifier():
            await seen(lambda: mailbox.to(LEAD), ["[HIGH] release_failed: SC-1"])

    async def test_not_but_runs_twice_sends_everything_once(self, floor: Floor, mailbox: Mailbox, hook: Hook) -> None:
        async with floor.notifier(), floor.notifier():
            for number in range(20):
                await floor.report(f"E-{number}", cause=f"c-{number}")
            await seen(hook.events, ["raised"] * 20)
            await seen(lambda: mailbox.to(LEAD), ["[HIGH] release_failed: SC-1"] * 20)
        assert len({headers["webhook-id"] for headers, _ in hook.posts}) == 20


class TestAnAlertThatNobodyAcknowledges:
    async def late(self, floor: Floor) -> None:
        """Its owner has had it for longer than an hour."""
        await floor.execute("UPDATE alerts SET owner_since = owner_since - interval '61 minutes'")

    async def escalations(self, floor: Floor) -> list[str]:
        return [entry.details for entry in await floor.ledger.entries(action="escalate_alert")]

    async def test_goes_on_to_the_next_role_which_is_told(self, floor: Floor, mailbox: Mailbox) -> None:
        async with floor.notifier():
            await floor.report()
            await seen(lambda: len(mailbox.to(LEAD)) * ["told"], ["told"])
            assert mailbox.to(MANAGER) == []
            await self.late(floor)
            await seen(lambda: mailbox.to(MANAGER), ["[HIGH] release_failed: SC-1"])
        assert await self.escalations(floor) == [
            "Alert 1 (release_failed) not acknowledged by supervisor: now production_manager"
        ]

    async def test_goes_no_further_than_the_end_of_the_chain(self, floor: Floor, mailbox: Mailbox) -> None:
        async with floor.notifier():
            await floor.report()
            await self.late(floor)
            await seen(lambda: len(mailbox.to(MANAGER)) * ["told"], ["told"])
            await self.late(floor)
            await floor.report("another", cause="another")  # once it is there, the notifier has looked again
            await seen(lambda: len(mailbox.to(LEAD)) * ["told"], ["told", "told"])
            await self.late(floor)
            await seen(lambda: len(mailbox.to(MANAGER)) * ["told"], ["told", "told"])
        assert len(await self.escalations(floor)) == 2

    @pytest.mark.parametrize("settled", ["acknowledged", "resolved", "of another severity"])
    async def test_is_left_alone_once_it_is(self, floor: Floor, mailbox: Mailbox, settled: str) -> None:
        await floor.report("E-1", Severity.LOW if settled == "of another severity" else Severity.HIGH)
        if settled == "acknowledged":
            alert = await floor.alerts.get(1)
            assert alert
            await floor.ledger.record(acknowledgement(alert, "maria", None))
        if settled == "resolved":
            await floor.resolve()
        await floor.report("E-2", cause="not settled")
        await self.late(floor)
        async with floor.notifier():
            await seen(lambda: mailbox.to(MANAGER), ["[HIGH] release_failed: SC-1"])
        assert [detail.split()[1] for detail in await self.escalations(floor)] == ["2"]


class TestANotifierThatCannotWork:
    @pytest.mark.parametrize("wrong", [{"routes": [{"webhooks": ["nowhere"]}]}, {"time_zone": "Europe/Atlantis"}])
    async def test_is_alerted_until_what_it_needs_is_mended(
        self, floor: Floor, hook: Hook, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
    ) -> None:
        monkeypatch.setattr(notifier, "PAUSE", timedelta(milliseconds=50))
        monkeypatch.setattr(notifier, "STEADY", timedelta(milliseconds=50))

        async def states() -> list[str]:
            _, found = await floor.alerts.page(alert_type="notifier_failing", limit=9, offset=0)
            return [alert["state"] for alert in found]

        good = floor.plan
        floor.plan = good | wrong
        async with floor.notifier():
            await until(states, lambda found: found == ["raised"])
            floor.file.write_text(yaml.safe_dump(good))
            await until(states, lambda found: found == ["resolved"])

    async def test_leaves_the_gateway_to_its_arrivals_and_says_so_on_the_broker(
        self, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ready = tmp_path / "ready"
        monkeypatch.setenv("SMARTFLOOR_READY_FILE", str(ready))
        monkeypatch.setattr(gateway, "stop_requested", asyncio.Event)  # no signal handlers in a test process
        broken = settings.model_copy(update={"notifications_file": tmp_path / "not there.yaml"})
        async with aiomqtt.Client(settings.mqtt_host, settings.mqtt_port) as listener:
            await listener.subscribe(f"{ALERT_TOPIC}/critical")
            running = asyncio.create_task(gateway.run_gateway(broken))
            try:
                async with asyncio.timeout(20):
                    told = json.loads((await anext(listener.messages)).payload)
                assert told["alert_type"] == "notifier_failing"
                assert ready.exists()
                assert not running.done()
            finally:
                running.cancel()
                await asyncio.wait([running])


class TestTheBrokersOutbox:
    async def test_does_not_wait_for_receivers(self, floor: Floor, hook: Hook) -> None:
        hook.may_answer.clear()
        async with floor.notifier():
            await floor.report()
            await seen(hook.events, ["raised"])
            assert [message.message_id for message in await AlertOutbox(floor.engine).unpublished()] == ["1:raised"]
