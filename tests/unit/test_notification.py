"""Who is told of an alert at which time, and who is next."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from infra.alerts import Message
from infra.receivers import letter, load_notifications
from infra.settings import Settings
from schemas.alert import AlertEvent, Severity
from schemas.notification import Notifications, Receiver
from schemas.permission import Role
from schemas.shift import Shift

MON_TO_FRI = ["mon", "tue", "wed", "thu", "fri"]
FRIDAY, SATURDAY, SUNDAY = (datetime(2026, 11, day, tzinfo=UTC) for day in (20, 21, 22))


def shift(start: str, end: str, days: list[str] | None = None) -> Shift:
    return Shift.model_validate({"from": start, "to": end} | ({"days": days} if days else {}))


def settings(*routes: dict[str, Any], **fields: Any) -> Notifications:
    return Notifications.model_validate(
        {
            "escalation": {"after": {}, "next": {}},
            "mail_server": {"host": "mail", "sender": "shop@x.example"},
            "shifts": {"early": {"from": "06:00", "to": "14:00", "days": MON_TO_FRI}},
            "routes": routes,
            **fields,
        }
    )


def told(notifications: Notifications, owner: Role, severity: Severity, now: datetime = FRIDAY) -> list[str]:
    return [str(receiver) for receiver in notifications.receivers(owner, severity, now)]


class TestAShift:
    def test_begins_at_its_first_minute_and_ends_before_its_last(self) -> None:
        early = shift("06:00", "14:00")
        at = [(5, 59), (6, 0), (13, 59), (14, 0)]
        assert [early.covers(FRIDAY.replace(hour=h, minute=m)) for h, m in at] == [False, True, True, False]

    def test_is_off_on_other_days(self) -> None:
        early = shift("06:00", "14:00", MON_TO_FRI)
        assert early.covers(FRIDAY.replace(hour=8))
        assert not early.covers(SATURDAY.replace(hour=8))

    def test_over_midnight_belongs_to_the_day_on_which_it_begins(self) -> None:
        night = shift("22:00", "06:00", MON_TO_FRI)
        assert night.covers(FRIDAY.replace(hour=23))
        assert night.covers(SATURDAY.replace(hour=5))
        assert not night.covers(SATURDAY.replace(hour=23))
        assert not night.covers(SUNDAY.replace(hour=5))

    def test_that_ends_when_it_begins_is_a_whole_day(self) -> None:
        standby = shift("08:00", "08:00", ["sat"])
        assert standby.covers(SATURDAY.replace(hour=8))
        assert standby.covers(SUNDAY.replace(hour=7))
        assert not standby.covers(SUNDAY.replace(hour=8))


class TestARoute:
    def test_without_conditions_is_for_every_alert(self) -> None:
        found = settings({"email": ["all@x.example"]})
        assert told(found, Role.ADMIN, Severity.LOW) == ["email:all@x.example"]

    def test_is_for_the_roles_and_severities_that_it_names(self) -> None:
        found = settings({"owners": ["supervisor"], "severities": ["high", "critical"], "email": ["lead@x.example"]})
        assert told(found, Role.SUPERVISOR, Severity.HIGH)
        assert not told(found, Role.SUPERVISOR, Severity.MEDIUM)
        assert not told(found, Role.ADMIN, Severity.HIGH)

    def test_leads_to_who_is_on_duty_by_the_clock_on_the_wall(self) -> None:
        found = settings({"shifts": ["early"], "email": ["lead@x.example"]}, time_zone="Europe/Berlin")
        winter, summer = datetime(2026, 11, 20, 5, 30, tzinfo=UTC), datetime(2026, 7, 17, 4, 30, tzinfo=UTC)
        assert told(found, Role.ADMIN, Severity.LOW, winter)
        assert told(found, Role.ADMIN, Severity.LOW, summer)
        assert not told(found, Role.ADMIN, Severity.LOW, winter.replace(hour=4))

    def test_that_leads_where_another_leads_tells_nobody_twice(self) -> None:
        found = settings({"email": ["a@x.example"]}, {"email": ["b@x.example", "a@x.example"]})
        assert told(found, Role.ADMIN, Severity.LOW) == ["email:a@x.example", "email:b@x.example"]


class TestTheSettings:
    @pytest.mark.parametrize(
        ("wrong", "why"),
        [
            ({"routes": [{"shifts": ["late"], "email": ["a@x.example"]}]}, "late"),
            ({"routes": [{"webhooks": ["andon"]}]}, "andon"),
            ({"routes": [{"email": ["a@x.example"]}], "mail_server": None}, "mail_server"),
            ({"routes": [{"email": ["a@x.example\nBcc: b@x.example"]}]}, "email"),
            ({"routes": [{"owners": ["janitor"]}]}, "owners"),
            ({"time_zone": "Europe/Atlantis"}, "time_zone"),
            ({"shifts": {"early": {"from": "06:00Z", "to": "14:00"}}}, "on the wall"),
            ({"shifts": {"early": {"from": "06:00", "to": "14:00+01:00"}}}, "on the wall"),
            ({"escalation": {"after": {}, "next": {"supervisor": "admin", "admin": "supervisor"}}}, "comes back"),
            ({"escalation": {"after": {}, "next": {"supervisor": "programmer"}}}, "may not acknowledge"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_that_lead_nowhere_are_refused(self, wrong: dict[str, Any], why: str) -> None:
        with pytest.raises(ValidationError, match=why):
            settings(**wrong)

    def test_that_are_refused_do_not_give_the_address_of_a_webhook_away(self) -> None:
        with pytest.raises(ValidationError) as refused:
            settings(webhooks={"andon": {"url": "hooks.example.com/s3cret", "secret_file": "andon.secret"}})
        assert "s3cret" not in str(refused.value)

    def test_that_are_shipped_tell_nobody_and_lead_to_the_admin(self) -> None:
        shipped = load_notifications(Settings().notifications_file)
        assert shipped.routes == ()
        role, chain = Role.SUPERVISOR, []
        while following := shipped.escalation.next.get(role):
            chain.append(role := following)
        assert chain == [Role.PRODUCTION_MANAGER, Role.ADMIN]
        assert set(shipped.escalation.after) == set(Severity)

    def test_that_are_shipped_as_comments_are_good(self, tmp_path: Path) -> None:
        text = re.sub(r"(?m)^# ?(?=\w+:|  |$)", "", Settings().notifications_file.read_text())
        (tmp_path / "notifications.yaml").write_text(text)
        found = load_notifications(tmp_path / "notifications.yaml")
        assert len(found.routes) == 2
        assert found.shifts["early"].covers(FRIDAY.replace(hour=8))

    def test_may_have_times_without_quotes(self, tmp_path: Path) -> None:
        file = tmp_path / "notifications.yaml"
        file.write_text("escalation: {after: {}, next: {}}\nshifts: {late: {from: 14:00, to: 22:00}}")
        assert yaml.safe_load(file.read_text())["shifts"]["late"]["from"] == 840  # what YAML takes it for
        assert load_notifications(file).shifts["late"].covers(FRIDAY.replace(hour=15))


class TestALetter:
    @pytest.fixture
    def row(self) -> dict[str, Any]:
        return {
            "number": 17,
            "alert_id": "SC-1:release_failed:1",
            "alert_type": "release_failed",
            "severity": "high",
            "source": "client-po/SC-1",
            "subject": "SC-1",
            "text": "node LP has not taken the PO. Start it.",
            "cause": "release_failed:SC-1:late",
            "count": 1,
            "escalations": 0,
            "issue": None,
            "raised_at": FRIDAY,
            "resolved_by": "system",
            "resolved_note": "released to LP",
        }

    def write(self, row: dict[str, Any], event: AlertEvent = AlertEvent.RAISED) -> Any:
        message = Message(f"17:{event}", event, Role.SUPERVISOR, FRIDAY, row)
        return letter(message, "shop@x.example", "lead@x.example")

    def test_says_what_to_do_and_how_bad_it_is(self, row: dict[str, Any]) -> None:
        found = self.write(row)
        assert found["Subject"] == "[HIGH] release_failed: SC-1"
        assert "Start it." in found.get_content()

    def test_is_the_same_letter_when_it_is_sent_again(self, row: dict[str, Any]) -> None:
        assert self.write(row).as_string() == self.write(row).as_string()
        assert self.write(row)["Message-ID"] != self.write(row, AlertEvent.RESOLVED)["Message-ID"]

    def test_says_that_it_is_over(self, row: dict[str, Any]) -> None:
        found = self.write(row, AlertEvent.RESOLVED)
        assert found["Subject"].startswith("[RESOLVED]")
        assert "released to LP" in found.get_content()

    def test_has_no_headers_from_what_it_quotes(self, row: dict[str, Any]) -> None:
        found = self.write(row | {"subject": "SC-1\r\nBcc: spy@x.example"})
        assert found["Bcc"] is None
        assert "\n" not in found["Subject"]

    def test_tells_a_receiver_by_its_text(self) -> None:
        for receiver in (Receiver(kind="email", name="a:b@x.example"), Receiver(kind="webhook", name="andon")):
            assert Receiver.read(str(receiver)) == receiver
