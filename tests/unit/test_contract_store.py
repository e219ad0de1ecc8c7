"""The contract store on a real folder."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.contract_store import ContractStore
from infra.documents import NotReadable

CONTRACT = {"smart_contract_id": "SC-1", "due_date": "2026-12-18", "tests": [{"revision": "2021"}]}

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def store(tmp_path: Path) -> ContractStore:
    return ContractStore(tmp_path / "contracts")


class TestAContract:
    def test_is_read_as_it_was_added(self, store: ContractStore) -> None:
        store.add("SC-1", CONTRACT)
        assert store.read("SC-1") == CONTRACT

    @given(document=st.dictionaries(TEXT, VALUES, max_size=4))
    def test_of_any_content_is_read_as_it_was_added(
        self, tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any]
    ) -> None:
        store = ContractStore(tmp_path_factory.mktemp("contracts"))
        store.add("SC-1", document)
        assert store.read("SC-1") == document

    def test_with_one_object_in_two_places_is_written_out(self, store: ContractStore) -> None:
        equipment = ["UV-LAMP-04"]
        store.add("SC-1", {"tests": [{"equipment": equipment}, {"equipment": equipment}]})
        assert store.read("SC-1") == {"tests": [{"equipment": equipment}, {"equipment": equipment}]}

    def test_is_found_with_the_ending_of_its_file(self, store: ContractStore) -> None:
        store.add("SC-1", CONTRACT)
        assert store.read("SC-1.yaml") == CONTRACT

    def test_replaces_the_one_before_and_leaves_nothing_beside_it(self, store: ContractStore, tmp_path: Path) -> None:
        store.add("SC-1", {"priority": 1})
        store.add("SC-1", {"priority": 2})
        assert store.read("SC-1") == {"priority": 2}
        assert [file.name for file in (tmp_path / "contracts").iterdir()] == ["SC-1.yaml"]

    def test_that_is_not_there_is_none(self, store: ContractStore) -> None:
        assert store.read("SC-1") is None

    def test_that_is_no_document_says_what_is_wrong(self, store: ContractStore, tmp_path: Path) -> None:
        store.add("SC-1", CONTRACT)
        (tmp_path / "contracts" / "SC-1.yaml").write_text("- a list")
        with pytest.raises(NotReadable, match=r"SC-1\.yaml in the contract store: the document must be an object"):
            store.read("SC-1")


class TestAName:
    @pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "", "..", ".hidden", "a\0b", "SC-1\n"])
    def test_never_leaves_the_folder(self, store: ContractStore, tmp_path: Path, name: str) -> None:
        (tmp_path / "secret.yaml").write_text("smart_contract_id: secret")
        with pytest.raises(NotReadable, match="cannot be the name of a contract"):
            store.read(name)
        with pytest.raises(ValidationError):
            store.add(name, CONTRACT)

    def test_is_listed_in_order(self, store: ContractStore, tmp_path: Path) -> None:
        assert store.names() == []
        store.add("SC-2", CONTRACT)
        store.add("SC-1", CONTRACT)
        (tmp_path / "contracts" / "notes.txt").write_text("not a contract")
        assert store.names() == ["SC-1", "SC-2"]
