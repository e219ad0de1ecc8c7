"""Who is told of an alert, and who is next where nobody acknowledges it: the rules of the settings file.

A route leads from roles and severities, at the times of its shifts, to receivers. Roles, severities and shifts that
a route does not name do not narrow it. Times are those of the shop's clock on the wall.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AnyHttpUrl, ConfigDict, Field, StringConstraints, model_validator

from schemas.alert import Severity
from schemas.base import Identifier, Model
from schemas.permission import Permission, Role, may
from schemas.shift import Shift

EmailAddress = Annotated[str, StringConstraints(pattern=r"^[^@\s<>,]+@[^@\s<>,]+$")]


class Receiver(Model):
    """An address, or the name of a webhook, as deliveries remember it."""

    kind: Literal["email", "webhook"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @classmethod
    def read(cls, text: str) -> Self:
        """The receiver behind its text."""
        kind, _, name = text.partition(":")
        return cls.model_validate({"kind": kind, "name": name})


class Route(Model):
    """Who is told."""

    owners: frozenset[Role] = frozenset(Role)
    severities: frozenset[Severity] = frozenset(Severity)
    shifts: frozenset[str] | None = None
    email: tuple[EmailAddress, ...] = ()
    webhooks: tuple[str, ...] = ()

    @property
    def receivers(self) -> list[Receiver]:
        return [
            *(Receiver(kind="email", name=address) for address in self.email),
            *(Receiver(kind="webhook", name=name) for name in self.webhooks),
        ]


class Webhook(Model):
    """Signed as standard-webhooks has it, with the secret (`whsec_` and base64) in the file."""

    url: AnyHttpUrl
    secret_file: Path


class MailServer(Model):
    """How e-mail leaves the house; `security` is how the connection is protected.

    `ca_file` (PEM) vouches for a server of the house's own; without it those do whom the machine trusts.
    """

    host: str
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = None
    sender: EmailAddress
    user: str | None = None
    password_file: Path | None = None


class Escalation(Model):
    """How long an owner has to acknowledge, and whose it is then.

    A severity without a time never escalates, and a role without a next one keeps what it has.
    """

    after: dict[Severity, timedelta]
    next: dict[Role, Role]

    @model_validator(mode="after")
    def _leads_to_an_end(self) -> Self:
        for role in self.next.values():
            if not may(role, Permission.ALERT_ACKNOWLEDGE):
                raise ValueError(f"{role} may not acknowledge alerts")
        for first in self.next:
            role, passed = first, {first}
            while (following := self.next.get(role)) is not None:
                if following in passed:
                    raise ValueError(f"the chain from {first} comes back to {following}")
                passed.add(following)
                role = following
        return self


class Notifications(Model):
    """The settings file."""

    model_config = ConfigDict(hide_input_in_errors=True)  # an address of a webhook may be a secret

    time_zone: ZoneInfo = ZoneInfo("UTC")
    escalation: Escalation
    shifts: dict[Identifier, Shift] = Field(default_factory=dict)
    mail_server: MailServer | None = None
    webhooks: dict[Identifier, Webhook] = Field(default_factory=dict)
    routes: tuple[Route, ...] = ()

    @model_validator(mode="after")
    def _names_what_is_there(self) -> Self:
        for route in self.routes:
            if unknown := (route.shifts or frozenset()) - self.shifts.keys():
                raise ValueError(f"a route names shifts that are not there: {', '.join(sorted(unknown))}")
            if missing := set(route.webhooks) - self.webhooks.keys():
                raise ValueError(f"a route names webhooks that are not there: {', '.join(sorted(missing))}")
            if route.email and self.mail_server is None:
                raise ValueError("a route leads to e-mail: name the mail_server")
        return self

    def receivers(self, owner: Role, severity: Severity, now: datetime) -> list[Receiver]:
        """Who is told at this moment of an alert with this owner; each once."""
        local = now.astimezone(self.time_zone)
        on_duty = (route for route in self._routes(owner, severity) if self._on_duty(route.shifts, local))
        return list(dict.fromkeys(receiver for route in on_duty for receiver in route.receivers))

    def may_tell(self, owner: Role, severity: Severity) -> bool:
        """Whether there is somebody who is told of such alerts in a shift of theirs, now or later."""
        return any(route.receivers and route.shifts != frozenset() for route in self._routes(owner, severity))

    def _routes(self, owner: Role, severity: Severity) -> Iterator[Route]:
        return (route for route in self.routes if owner in route.owners and severity in route.severities)

    def _on_duty(self, shifts: Iterable[str] | None, local: datetime) -> bool:
        return shifts is None or any(self.shifts[name].covers(local) for name in shifts)
