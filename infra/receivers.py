"""Reaching people and their machines: e-mail over SMTP, webhooks over HTTP.

What a receiver is told carries the message's ID, so that it can tell a repeat (`Message-ID`, `webhook-id`).
"""

import asyncio
import json
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiosmtplib
import httpx
import yaml
from standardwebhooks import Webhook as Signer

from infra.alerts import Message
from schemas.alert import AlertEvent
from schemas.base import excerpt
from schemas.notification import EmailAddress, MailServer, Notifications, Receiver

PATIENCE = 15.0
"""Seconds that one attempt may take, however slowly the receiver answers."""


class NotTaken(Exception):
    """The receiver answered that it does not take the message."""


class Unknown(Exception):
    """The settings do not name this receiver (any more)."""


def why(error: Exception) -> str:
    """In words of our own: what libraries say quotes addresses, and those of webhooks are secrets."""
    match error:
        case NotTaken() | Unknown():
            return str(error)
        case aiosmtplib.SMTPRecipientsRefused(recipients=[refused, *_]) | (
            aiosmtplib.SMTPResponseException() as refused
        ):
            return f"SMTP {refused.code}"
        case _:
            return type(error).__name__


def load_notifications(file: Path) -> Notifications:
    """Raises `OSError`, `yaml.YAMLError` or `pydantic.ValidationError` where the file cannot be used.

    Scalars are read as text, which the models understand: YAML by itself takes 14:00 for a number.
    """
    return Notifications.model_validate(yaml.load(file.read_text(), Loader=yaml.BaseLoader))


class Receivers:
    """Those that the settings file names; its secrets lie in files beside it and are read when it is opened."""

    def __init__(self, file: Path) -> None:
        self.notifications = load_notifications(file)
        self._server = self.notifications.mail_server
        secret = self._server.password_file if self._server else None
        self._password = _read(file, secret) if secret else None
        ca = self._server.ca_file if self._server else None
        self._cert_bundle = str(file.parent / ca) if ca else None
        self._webhooks = {
            name: (str(webhook.url), Signer(_read(file, webhook.secret_file)))
            for name, webhook in self.notifications.webhooks.items()
        }

    async def tell(self, receiver: Receiver, message: Message) -> None:
        """Returns when the receiver has taken it; raises `Unknown`, or whatever it is that kept it from that."""
        async with asyncio.timeout(PATIENCE):
            if receiver.kind == "webhook" and (webhook := self._webhooks.get(receiver.name)):
                await _post(*webhook, message)
            elif receiver.kind == "email" and self._server is not None:
                await self._mail(self._server, receiver.name, message)
            else:
                raise Unknown(f"the settings do not name {receiver}")

    async def _mail(self, server: MailServer, address: EmailAddress, message: Message) -> None:
        await aiosmtplib.send(
            letter(message, server.sender, address),
            hostname=server.host,
            port=server.port,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            cert_bundle=self._cert_bundle,
            username=server.user,
            password=self._password,
        )


async def _post(url: str, signer: Signer, message: Message) -> None:
    body = json.dumps(message.body())
    now = datetime.now(UTC)
    headers = {
        "content-type": "application/json",
        "webhook-id": message.message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signer.sign(message.message_id, now, body),
    }
    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        answer = await client.post(url, content=body, headers=headers)
    if not answer.is_success:
        raise NotTaken(f"HTTP {answer.status_code}")


def letter(message: Message, sender: EmailAddress, address: EmailAddress) -> EmailMessage:
    """For people: what happened, what to do, whose it is."""
    told = message.body()
    ended = message.event is AlertEvent.RESOLVED
    what = "RESOLVED" if ended else str(told["severity"]).upper()
    letter = EmailMessage()
    letter["From"] = sender
    letter["To"] = address
    letter["Subject"] = excerpt(" ".join(f"[{what}] {told['alert_type']}: {told['subject']}".split()), 200)
    letter["Message-ID"] = f"<alert.{message.message_id.replace(':', '.')}@{sender.partition('@')[2]}>"
    letter["Date"] = message.occurred_at
    lines: list[Any] = [told["text"], ""]
    if ended:
        lines += [f"Resolved by {told['resolved_by']}: {told['note']}", ""]
    elif message.event is AlertEvent.ESCALATED:
        lines += [f"Nobody acknowledged it until now; it is yours now, {told['owner']}.", ""]
    lines += [f"{name}: {told[name]}" for name in ("id", "severity", "owner", "source", "raised_at")]
    letter.set_content("\n".join(map(str, lines)))
    return letter


def _read(file: Path, beside: Path) -> str:
    return (file.parent / beside).read_text().strip()
