"""The contract store: a folder with one YAML document for each contract to come, which people may edit too."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from pydantic import TypeAdapter, ValidationError

from infra.documents import NotReadable, read_document, write_document
from schemas.base import Identifier

_NAME: TypeAdapter[str] = TypeAdapter(Identifier)
_ENDING = ".yaml"


class ContractStore:
    """Reads and adds contracts by their `smart_contract_id`; nothing outside its folder can be named."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """All contracts, in order; files that cannot be named are none."""
        if not self._folder.is_dir():
            return []
        names = (file.name.removesuffix(_ENDING) for file in self._folder.glob(f"*{_ENDING}"))
        return sorted(name for name in names if _is_name(name))

    def read(self, name: str) -> dict[str, Any] | None:
        """The document of a contract, by its name with or without the ending; None where there is none.

        Raises `NotReadable` for a name that none can have, and for a file that holds no document.
        """
        if not _is_name(name):
            raise NotReadable(f"{name!r} cannot be the name of a contract")
        for file in (self._folder / f"{name}{_ENDING}", self._folder / name):
            if not file.name.endswith(_ENDING):
                continue
            try:
                return read_document(file.read_bytes(), is_yaml=True)
            except FileNotFoundError:
                continue
            except (OSError, NotReadable) as error:
                raise NotReadable(f"{file.name} in the contract store: {error}") from error
        return None

    def add(self, smart_contract_id: str, document: dict[str, Any]) -> None:
        """Writes a contract, whole or not at all, in place of what is there; raises `ValidationError`, `OSError`."""
        name = _NAME.validate_python(smart_contract_id)
        text = write_document(document)
        self._folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=self._folder, encoding="utf-8", delete=False) as unfinished:
            try:
                unfinished.write(text)
                unfinished.flush()
                os.fsync(unfinished.fileno())
                Path(unfinished.name).replace(self._folder / f"{name}{_ENDING}")
            except BaseException:
                Path(unfinished.name).unlink(missing_ok=True)
                raise


def _is_name(name: str) -> bool:
    try:
        _NAME.validate_python(name)
    except ValidationError:
        return False
    return True
