"""The personnel register: who is qualified for which method, at which level (NAS 410, EN 4179)."""

from datetime import date
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, field_validator

from schemas.base import Identifier, Model, excerpt
from schemas.signoff import Qualification, QualificationAnswer, QualificationCheck

UNLISTED_ROLE_LEVEL = 1
"""A role of which the register says nothing needs a qualification all the same."""


class _Person(Model):
    person: Identifier
    qualifications: tuple[Qualification, ...] = ()


class _Register(Model):
    levels: dict[str, Annotated[int, Field(ge=0, le=3)]]
    persons: tuple[_Person, ...]

    @field_validator("persons")
    @classmethod
    def _each_once(cls, persons: tuple[_Person, ...]) -> tuple[_Person, ...]:
        if len({entry.person for entry in persons}) < len(persons):
            raise ValueError("each person stands once in the register")
        return persons

    def of(self, person: str) -> tuple[Qualification, ...]:
        return next((entry.qualifications for entry in self.persons if entry.person == person), ())


class Personnel:
    """The register in a YAML file, which is read each time it is asked."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def check(self, check: QualificationCheck) -> QualificationAnswer:
        """The certificate by which this person may sign, or why there is none; the test's day is that of UTC.

        It never raises: a register that cannot be read qualifies nobody, and says so.
        """
        try:
            register = _Register.model_validate(yaml.safe_load(self._file.read_text()))
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = f"the personnel register {self._file.name} cannot be read: {error}"
            return QualificationAnswer(refusal=excerpt(reason))
        level = register.levels.get(check.role, UNLISTED_ROLE_LEVEL)
        if level == 0:
            return QualificationAnswer()
        on = check.at.date()
        held = [held for held in register.of(check.person) if held.method == check.method]
        for qualification in held:
            if qualification.holds(check.method, level, on):
                return QualificationAnswer(certificate=qualification.certificate)
        return QualificationAnswer(refusal=_refusal(check, level, on, held))


def _refusal(check: QualificationCheck, level: int, on: date, held: list[Qualification]) -> str:
    needed = f"{check.person} may not sign as {check.role}: it needs {check.method} level {level} on {on}"
    if not held:
        return f"{needed}, and the register has none of them"
    has = "; ".join(
        f"{qualification.certificate}: level {qualification.level} from {qualification.valid_from}"
        f" until {qualification.valid_until}"
        for qualification in held
    )
    return excerpt(f"{needed}, and the register has {has}")
