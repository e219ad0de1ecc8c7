"""The personnel register: who may sign as what, for which method, on which day."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.personnel import Personnel
from infra.settings import HERE
from schemas.signoff import QualificationAnswer, QualificationCheck

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

PENETRANT = {
    "method": "liquid_penetrant",
    "level": 2,
    "certificate": "PT-1",
    "valid_from": date(2026, 1, 10),
    "valid_until": date(2027, 1, 10),
}


class Register:
    """A register that can be written anew: ines, with these qualifications."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.personnel = Personnel(file)
        self.write(PENETRANT)

    def write(self, *qualifications: dict[str, Any]) -> None:
        person = {"person": "ines", "qualifications": list(qualifications)}
        levels = {"inspector": 2, "quality_manager": 0, "examiner": 3}
        self.file.write_text(yaml.safe_dump({"levels": levels, "persons": [person]}))

    def check(self, role: str = "inspector", **fields: Any) -> QualificationAnswer:
        values = {"person": "ines", "role": role, "method": "liquid_penetrant", "at": NOON}
        return self.personnel.check(QualificationCheck.model_validate(values | fields))


@pytest.fixture
def register(tmp_path: Path) -> Register:
    return Register(tmp_path / "personnel.yaml")


class TestAPerson:
    def test_signs_with_the_certificate_that_counts(self, register: Register) -> None:
        register.write(PENETRANT | {"level": 1, "certificate": "PT-0"}, PENETRANT)
        assert register.check() == QualificationAnswer(certificate="PT-1")

    def test_signs_in_a_role_that_needs_none_without_a_certificate(self, register: Register) -> None:
        assert register.check("quality_manager", person="quinn") == QualificationAnswer()

    def test_needs_level_one_for_a_role_that_is_not_listed(self, register: Register) -> None:
        register.write(PENETRANT | {"level": 1})
        assert register.check("operator").certificate == "PT-1"
        assert register.check("operator", person="quinn").refusal is not None

    @pytest.mark.parametrize("at", [datetime(2026, 1, 10, tzinfo=UTC), datetime(2027, 1, 10, 23, 59, tzinfo=UTC)])
    def test_is_qualified_on_the_first_and_on_the_last_day(self, register: Register, at: datetime) -> None:
        assert register.check(at=at).refusal is None

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"at": datetime(2027, 1, 11, tzinfo=UTC)}, "level 2 on 2027-01-11, and the register has PT-1: level 2"),
            ({"at": datetime(2026, 1, 9, 23, 59, tzinfo=UTC)}, "from 2026-01-10 until 2027-01-10"),
            ({"role": "examiner"}, "it needs liquid_penetrant level 3"),
            ({"method": "nital_etch"}, "it needs nital_etch level 2 on 2026-11-21, and the register has none"),
            ({"person": "ivan"}, "ivan may not sign as inspector"),
        ],
    )
    def test_is_refused_with_what_is_needed_and_what_there_is(
        self, register: Register, fields: dict[str, Any], reason: str
    ) -> None:
        answer = register.check(**fields)
        assert answer.certificate is None
        assert reason in str(answer.refusal)


class TestTheRegister:
    def test_is_read_when_it_is_asked(self, register: Register) -> None:
        assert register.check().refusal is None
        register.write()
        assert register.check().refusal is not None

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[",
            "\0",
            "persons: []",
            "levels: {inspector: 4}\npersons: []",
            "levels: {}\npersons: [{person: ines}, {person: ines}]",
            "levels: {}\npersons: [{person: ines, qualifications: [{method: x}]}]",
        ],
    )
    def test_qualifies_nobody_and_says_so_when_it_cannot_be_read(self, register: Register, text: str) -> None:
        register.file.write_text(text)
        assert "personnel register personnel.yaml cannot be read" in str(register.check("quality_manager").refusal)

    def test_qualifies_nobody_when_there_is_none(self, register: Register) -> None:
        register.file.unlink()
        assert "cannot be read" in str(register.check().refusal)

    @pytest.mark.parametrize("person", ["ines", "ivan"])
    @pytest.mark.parametrize("method", ["liquid_penetrant", "nital_etch", "dimensional"])
    def test_of_this_product_has_the_inspectors_of_the_samples(self, person: str, method: str) -> None:
        check = QualificationCheck(person=person, role="inspector", method=method, at=NOON)
        assert Personnel(HERE / "personnel.yaml").check(check).certificate is not None
