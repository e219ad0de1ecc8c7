"""The policy repository: written once, read as it was written, and what was changed is named."""

import hashlib
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infra.policy_repository import PolicyRepository
from schemas.policy_repository import PolicyFile, PolicyRef, Publication

DOCUMENT: dict[str, Any] = {
    "smart_contract_id": "LP-lamp",
    "title": "Ü: “lamp”",
    "since": "2026-01-31",
    "limits": {"uv": "1000", "on": "yes", "none": None},
    "steps": [{"step_id": "1"}, {"step_id": "1"}],
}


@pytest.fixture
def repository(tmp_path: Path) -> PolicyRepository:
    return PolicyRepository(tmp_path)


def publication(**fields: Any) -> Publication:
    return Publication(contract_id="LP-lamp", version="1.0", document={**DOCUMENT, **fields})


async def read(repository: PolicyRepository, file_hash: str) -> PolicyFile:
    return await repository.read(PolicyRef(contract_id="LP-lamp", version="1.0", file_hash=file_hash))


async def published(repository: PolicyRepository) -> str:
    answer = await repository.publish(publication())
    assert answer.file_hash is not None
    return answer.file_hash


def _note(synced: list[Path], descriptor: int) -> None:
    synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())


class TestAPublication:
    async def test_lies_in_the_folder_of_its_version_and_is_read_as_it_was(
        self, repository: PolicyRepository, tmp_path: Path
    ) -> None:
        file_hash = await published(repository)
        file = tmp_path / "v1.0" / "LP-lamp.yaml"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == file_hash
        assert (await read(repository, file_hash)).document == DOCUMENT

    async def test_is_read_only_and_alone_in_its_folder(self, repository: PolicyRepository, tmp_path: Path) -> None:
        await published(repository)
        [file] = (tmp_path / "v1.0").iterdir()
        assert file.stat().st_mode & 0o777 == 0o444

    async def test_of_the_same_again_is_the_same_file(self, repository: PolicyRepository, tmp_path: Path) -> None:
        first = await published(repository)
        inode = (tmp_path / "v1.0" / "LP-lamp.yaml").stat().st_ino
        assert await published(repository) == first
        assert (tmp_path / "v1.0" / "LP-lamp.yaml").stat().st_ino == inode

    async def test_of_other_content_changes_nothing_and_says_so(self, repository: PolicyRepository) -> None:
        first = await published(repository)
        answer = await repository.publish(publication(title="other"))
        assert answer.file_hash is None
        assert "v1.0/LP-lamp.yaml exists with other content" in (answer.fault or "")
        assert (await read(repository, first)).document == DOCUMENT

    @pytest.mark.parametrize("times", [1, 2])
    async def test_is_answered_when_file_and_folders_are_on_the_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
    ) -> None:
        repository = PolicyRepository(tmp_path / "policies")
        for _ in range(times):
            synced: list[Path] = []
            monkeypatch.setattr(os, "fsync", partial(_note, synced))
            await published(repository)
        folder = tmp_path / "policies" / "v1.0"
        assert {folder / "LP-lamp.yaml", folder, folder.parent, tmp_path} <= set(synced)

    async def test_that_cannot_be_written_says_why(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("no folder")
        answer = await PolicyRepository(tmp_path / "file").publish(publication())
        assert "cannot be written" in (answer.fault or "")


class TestAFile:
    async def test_that_was_changed_is_named(self, repository: PolicyRepository, tmp_path: Path) -> None:
        file_hash = await published(repository)
        file = tmp_path / "v1.0" / "LP-lamp.yaml"
        file.chmod(0o644)
        file.write_text(file.read_text().replace("1000", "10"))
        answer = await read(repository, file_hash)
        assert answer.document is None
        assert "v1.0/LP-lamp.yaml was changed after it was published" in (answer.fault or "")

    async def test_that_is_gone_is_named(self, repository: PolicyRepository, tmp_path: Path) -> None:
        file_hash = await published(repository)
        (tmp_path / "v1.0" / "LP-lamp.yaml").unlink()
        assert "is gone" in ((await read(repository, file_hash)).fault or "")
