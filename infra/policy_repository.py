"""The policy repository: `v1.0/{contract_id}.yaml`, each file written once and never again (specification 3)."""

import asyncio
import hashlib
import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from infra.documents import NotReadable, read_document, write_document
from schemas.maintenance_version import VersionRef
from schemas.policy_repository import PolicyFile, PolicyRef, Publication, Published

READ_ONLY = 0o444


class PolicyRepository:
    """A folder that people may read and nobody may change; what was changed all the same is named."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, ref: VersionRef) -> Path:
        """Relative to the folder."""
        return Path(f"v{ref.version}") / f"{ref.contract_id}.yaml"

    async def publish(self, publication: Publication) -> Published:
        """Answers when the file is on the disk; the same again is the same file."""
        return await asyncio.to_thread(self._publish, publication)

    async def read(self, ref: PolicyRef) -> PolicyFile:
        """The document, when its file is the one that was published."""
        return await asyncio.to_thread(self._read, ref)

    def _publish(self, publication: Publication) -> Published:
        path = self.path(publication)
        content = write_document(publication.document).encode()
        try:
            there = self._write_once(self._folder / path, content)
        except OSError as error:
            return Published(path=str(path), fault=f"{path} cannot be written: {error.strerror or error}")
        if there != content:
            return Published(path=str(path), fault=f"{path} exists with other content: move that away")
        return Published(path=str(path), file_hash=hashlib.sha256(content).hexdigest())

    def _write_once(self, file: Path, content: bytes) -> bytes:
        """Whole or not at all, and only where nothing is; what is there afterwards, on the disk with its folders."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=file.parent, prefix=".", delete=False) as unfinished:
            try:
                unfinished.write(content)
                unfinished.flush()
                os.fchmod(unfinished.fileno(), READ_ONLY)
                os.fsync(unfinished.fileno())
                os.link(unfinished.name, file)
            except FileExistsError:
                pass  # whoever wrote it may have been killed before it was on the disk
            finally:
                Path(unfinished.name).unlink(missing_ok=True)
        for path in (file, file.parent, self._folder, self._folder.parent):
            _sync(path)
        return file.read_bytes()

    def _read(self, ref: PolicyRef) -> PolicyFile:
        path = self.path(ref)
        try:
            content = (self._folder / path).read_bytes()
            if hashlib.sha256(content).hexdigest() != ref.file_hash:
                return PolicyFile(fault=f"{path} was changed after it was published, with SHA-256 {ref.file_hash}")
            return PolicyFile(document=_document(content))
        except FileNotFoundError:
            return PolicyFile(fault=f"{path} is gone from the policy repository")
        except (OSError, NotReadable) as error:
            return PolicyFile(fault=f"{path} cannot be read: {error}")


def _document(content: bytes) -> dict[str, Any]:
    return read_document(content, is_yaml=True)


def _sync(path: Path) -> None:
    """The content of a file, the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
