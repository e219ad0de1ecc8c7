"""Templates of maintenance contracts: documents without an ID, a folder with one YAML file for each."""

from pathlib import Path
from typing import Any

from infra.documents import read_document
from schemas.maintenance_version import FromTemplate, apply

FOLDER = Path(__file__).parent / "maintenance_templates"
_ENDING = ".yaml"


class Templates:
    """Those that come with the house, by name."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._documents = {
            file.name.removesuffix(_ENDING): read_document(file.read_bytes(), is_yaml=True)
            for file in sorted(folder.glob(f"*{_ENDING}"))
        }

    def all(self) -> dict[str, dict[str, Any]]:
        """Their documents, as they are."""
        return self._documents

    def fill(self, wanted: FromTemplate) -> dict[str, Any]:
        """A contract; raises `KeyError` where there is no such template, and `CannotApply`."""
        document = {"smart_contract_id": wanted.smart_contract_id, **self._documents[wanted.template]}
        return apply(document, wanted.changes)
