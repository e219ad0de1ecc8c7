"""What an export's verifier finds: every way to falsify a ledger, and the first entry that is bad."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra import verify_export as module
from infra.checkpoint import CheckpointKey
from infra.merkle import root
from infra.settings import Settings
from infra.verify_export import Broken, verify_export
from schemas.base import timestamp
from schemas.canonical import canonical
from schemas.ledger import GENESIS, Draft, LedgerEntry, leaf_hash

SIZE = 21
START = datetime(2026, 11, 21, tzinfo=UTC)

Line = dict[str, Any]


def sealed(seq: int, prev: str, details: str = "as it was", at: datetime | None = None) -> bytes:
    entry = LedgerEntry(
        idempotency_key=f"SC-{seq}:release",
        action_type="client_po",
        action="release",
        target=f"SC-{seq}",
        details=details,
    )
    draft = Draft(entry, "FLOOR-HUB-01")
    recorded_at = timestamp(at or START + timedelta(seconds=seq))
    return draft.seal(seq=seq, prev=prev, recorded_at=recorded_at, recorded_by="worker", recorder_seq=seq).encode()


def line(seq: int, entry: bytes) -> Line:
    return {"seq": seq, "entry": entry.decode(), "leaf": leaf_hash(entry).hex()}


def grow(ledger: list[Line], size: int, details: str = "as it was") -> list[Line]:
    """The ledger with entries appended as the writer would, up to `size`."""
    ledger = list(ledger)
    while len(ledger) < size:
        prev = ledger[-1]["leaf"] if ledger else GENESIS
        ledger.append(line(len(ledger), sealed(len(ledger), prev, details)))
    return ledger


class Export:
    """An export on disk, as honest or as false as a test makes it."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "ledger.jsonl"
        self.key = CheckpointKey.load_or_create(Settings(state_dir=directory))
        self.lines = grow([], SIZE)
        Path(f"{self.file}.pub").write_text(self.key.verifier_key + "\n")
        self.sign()

    def sign(self) -> None:
        tree = [bytes.fromhex(line["leaf"]) for line in self.lines]
        Path(f"{self.file}.checkpoint").write_text(self.key.sign(len(tree), root(tree)))

    def write(self, lines: list[Line]) -> Path:
        self.file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return self.file


@pytest.fixture
def export(tmp_path: Path) -> Export:
    return Export(tmp_path)


def replaced(lines: list[Line], seq: int, entry: bytes) -> list[Line]:
    return [*lines[:seq], line(seq, entry), *lines[seq + 1 :]]


def flip_the_text(lines: list[Line]) -> list[Line]:
    return [item | ({"entry": item["entry"].replace("as it", "as he")} if item["seq"] == 7 else {}) for item in lines]


def flip_the_leaf(lines: list[Line]) -> list[Line]:
    return [item | ({"leaf": "00" * 32} if item["seq"] == 7 else {}) for item in lines]


def replace_with_its_leaf(lines: list[Line]) -> list[Line]:
    return replaced(lines, 7, sealed(7, lines[6]["leaf"], "as I want it"))


def point_elsewhere(lines: list[Line]) -> list[Line]:
    return replaced(lines, 7, sealed(7, GENESIS))


def delete(lines: list[Line]) -> list[Line]:
    return lines[:7] + lines[8:]


def delete_and_renumber_one(lines: list[Line]) -> list[Line]:
    return [*lines[:7], line(7, sealed(7, lines[7]["leaf"])), *lines[8:]]


def swap(lines: list[Line]) -> list[Line]:
    return [*lines[:7], lines[8], lines[7], *lines[9:]]


def duplicate(lines: list[Line]) -> list[Line]:
    return [*lines[:7], lines[6], *lines[7:]]


def insert(lines: list[Line]) -> list[Line]:
    return [*lines[:7], line(7, sealed(7, lines[6]["leaf"], "put in")), *lines[7:]]


def renumber_outside(lines: list[Line]) -> list[Line]:
    return [item | ({"seq": 70} if item["seq"] == 7 else {}) for item in lines]


def loosen_the_form(lines: list[Line]) -> list[Line]:
    return replaced(lines, 7, lines[7]["entry"].replace('","', '", "').encode())


def write_a_float(lines: list[Line]) -> list[Line]:
    return replaced(lines, 7, lines[7]["entry"].replace('"metadata":{}', '"metadata":{"a":0.5}').encode())


def write_a_big_number(lines: list[Line]) -> list[Line]:
    return replaced(lines, 7, lines[7]["entry"].replace('"metadata":{}', '"metadata":{"a":9007199254740992}').encode())


def change_the_format(lines: list[Line]) -> list[Line]:
    return replaced(lines, 7, canonical(json.loads(lines[7]["entry"]) | {"v": 2}))


def go_back_in_time(lines: list[Line]) -> list[Line]:
    return replaced(lines, 7, sealed(7, lines[6]["leaf"], at=START))


def write_another_time(lines: list[Line]) -> list[Line]:
    return replaced(lines, 7, canonical(json.loads(lines[7]["entry"]) | {"recorded_at": "yesterday"}))


def spoil_the_line(lines: list[Line]) -> list[Line]:
    return [*lines[:7], {"seq": 7}, *lines[8:]]


def truncate(lines: list[Line]) -> list[Line]:
    return lines[:7]


def start_later(lines: list[Line]) -> list[Line]:
    return lines[1:]


def begin_with_another_link(lines: list[Line]) -> list[Line]:
    return replaced(lines, 0, sealed(0, "11" * 32))


class TestAnHonestLedger:
    def test_holds(self, export: Export) -> None:
        verdict = verify_export(export.write(export.lines))
        assert (verdict.entries, verdict.covered, verdict.uncovered) == (SIZE, SIZE, 0)

    def test_holds_when_it_is_empty(self, export: Export) -> None:
        export.lines = []
        export.sign()
        assert verify_export(export.write([])).entries == 0

    def test_that_grew_after_the_checkpoint_holds_and_says_what_is_not_covered(self, export: Export) -> None:
        verdict = verify_export(export.write(grow(export.lines, SIZE + 4)))
        assert (verdict.covered, verdict.uncovered) == (SIZE, 4)
        assert "4 are not yet covered" in str(verdict)


class TestAFalsifiedLedger:
    @pytest.mark.parametrize(
        ("falsify", "says"),
        [
            (flip_the_text, "leaf hash"),
            (flip_the_leaf, "leaf hash"),
            (replace_with_its_leaf, "replaced together with its leaf"),
            (point_elsewhere, "does not follow"),
            (delete, "found number 8"),
            (delete_and_renumber_one, "does not follow"),
            (swap, "found number 8"),
            (duplicate, "found number 6"),
            (renumber_outside, "found number 70"),
            (loosen_the_form, "not in canonical form"),
            (write_a_float, "number 0.5"),
            (write_a_big_number, "number 9007199254740992"),
            (change_the_format, "format 2"),
            (go_back_in_time, "before the entry in front of it"),
            (write_another_time, "not a time"),
            (spoil_the_line, "seq, entry and leaf"),
            (truncate, "7 to 20 are missing"),
        ],
    )
    def test_is_found_at_its_first_bad_entry(
        self, export: Export, falsify: Callable[[list[Line]], list[Line]], says: str
    ) -> None:
        with pytest.raises(Broken, match=says) as broken:
            verify_export(export.write(falsify(export.lines)))
        assert broken.value.seq == 7

    @pytest.mark.parametrize("falsify", [start_later, begin_with_another_link])
    def test_is_found_at_its_beginning(self, export: Export, falsify: Callable[[list[Line]], list[Line]]) -> None:
        with pytest.raises(Broken) as broken:
            verify_export(export.write(falsify(export.lines)))
        assert broken.value.seq == 0

    def test_is_found_where_an_entry_was_put_in(self, export: Export) -> None:
        """The inserted entry is a perfect one: the one that it pushes away is the first that does not fit."""
        with pytest.raises(Broken) as broken:
            verify_export(export.write(insert(export.lines)))
        assert broken.value.seq == 8

    @pytest.mark.parametrize("rewritten_from", [0, 7, SIZE - 1])
    def test_whose_chain_was_computed_anew_is_found_by_its_root(self, export: Export, rewritten_from: int) -> None:
        false = grow(export.lines[:rewritten_from], SIZE, "as I want it")
        with pytest.raises(Broken, match="computed anew"):
            verify_export(export.write(false))

    def test_that_lost_its_tail_and_grew_again_is_found_by_its_root(self, export: Export) -> None:
        with pytest.raises(Broken, match="computed anew"):
            verify_export(export.write(grow(export.lines[:-3], SIZE + 5, "as I want it")))

    def test_that_breaks_behind_the_checkpoint_is_found(self, export: Export) -> None:
        grown = grow(export.lines, SIZE + 4)
        with pytest.raises(Broken) as broken:
            verify_export(export.write([*grown[: SIZE + 1], *grown[SIZE + 2 :]]))
        assert broken.value.seq == SIZE + 1

    def test_does_not_put_the_blame_on_what_a_checkpoint_covers(self, export: Export) -> None:
        loose = [*export.lines, line(SIZE, sealed(SIZE, GENESIS))]
        with pytest.raises(Broken) as broken:
            verify_export(export.write(grow(loose, SIZE + 4)))
        assert broken.value.seq == SIZE

    def test_signed_by_another_key_is_refused(self, export: Export, tmp_path: Path) -> None:
        other = CheckpointKey.load_or_create(Settings(state_dir=tmp_path / "other"))
        Path(f"{export.file}.pub").write_text(other.verifier_key)
        with pytest.raises(Broken, match="not signed by the key"):
            verify_export(export.write(export.lines))


class TestTheCommand:
    def run(self, file: Path, directory: Path) -> "subprocess.CompletedProcess[str]":
        """Runs a copy of the verifier where the project is not."""
        alone = directory / "alone.py"
        alone.write_text(Path(module.__file__).read_text())
        command = [sys.executable, "-I", str(alone), str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)

    def test_needs_nothing_of_the_project_and_says_what_holds(self, export: Export, tmp_path: Path) -> None:
        done = self.run(export.write(export.lines), tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert "21 entries hold" in done.stdout

    def test_names_the_first_bad_entry_and_fails(self, export: Export, tmp_path: Path) -> None:
        done = self.run(export.write(flip_the_text(export.lines)), tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("BROKEN: entry 7: ")

    def test_without_its_files_does_not_claim_that_anything_holds(self, tmp_path: Path) -> None:
        done = self.run(tmp_path / "missing.jsonl", tmp_path)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
