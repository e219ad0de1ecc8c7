"""The key file and the signed note."""

import base64
import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.checkpoint import CheckpointKey, NoKey, verifier_key
from infra.settings import Settings
from infra.verify_export import Broken, open_checkpoint

ROOT = hashlib.sha256(b"root").digest()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path, ledger_origin="lab.example/ledger")


class TestKeyFile:
    def test_is_made_at_first_use_for_its_owner_alone(self, settings: Settings) -> None:
        CheckpointKey.load_or_create(settings)
        assert stat.S_IMODE(settings.ledger_key_file.stat().st_mode) == 0o600
        assert sorted(file.name for file in settings.ledger_key_file.parent.iterdir()) == ["ledger.pem", "ledger.pub"]

    def test_is_one_key_for_all_who_make_it_at_once(self, settings: Settings) -> None:
        with ThreadPoolExecutor(8) as pool:
            keys = list(pool.map(lambda _: CheckpointKey.load_or_create(settings).verifier_key, range(32)))
        assert len(set(keys)) == 1

    def test_is_not_made_by_who_only_reads(self, settings: Settings) -> None:
        with pytest.raises(NoKey, match=r"ledger\.pem.*put a copy"):
            CheckpointKey.load(settings)
        with pytest.raises(NoKey, match=r"put a copy of ledger\.pub"):
            verifier_key(settings)
        assert list(settings.state_dir.iterdir()) == []

    def test_need_not_be_where_its_public_half_is(self, settings: Settings) -> None:
        key = CheckpointKey.load_or_create(settings).verifier_key
        settings.ledger_key_file.unlink()
        assert verifier_key(settings) == key

    def test_of_an_earlier_release_stands_for_its_public_half(self, settings: Settings) -> None:
        key = CheckpointKey.load_or_create(settings).verifier_key
        settings.ledger_public_key_file.unlink()
        assert verifier_key(settings) == key

    def test_made_anew_replaces_the_public_half_of_the_one_before(self, settings: Settings) -> None:
        CheckpointKey.load_or_create(settings)
        settings.ledger_key_file.unlink()
        assert CheckpointKey.load_or_create(settings).verifier_key == verifier_key(settings)

    def test_that_cannot_be_made_says_where(self, settings: Settings) -> None:
        settings.ledger_key_file.parent.write_text("a file in the folder's place")
        with pytest.raises(NoKey, match="let this process write into"):
            CheckpointKey.load_or_create(settings)

    def test_with_something_else_in_it_is_named_in_the_error(self, settings: Settings) -> None:
        settings.ledger_key_file.parent.mkdir()
        settings.ledger_key_file.write_text("not a key")
        with pytest.raises(NoKey, match=r"ledger\.pem"):
            CheckpointKey.load(settings)


class TestNote:
    def test_has_the_form_of_c2sp(self, settings: Settings) -> None:
        key = CheckpointKey.load_or_create(settings)
        origin, size, root, blank, signature, end = key.sign(7, ROOT).split("\n")
        assert (origin, size, blank, end) == ("lab.example/ledger", "7", "", "")
        assert base64.b64decode(root) == ROOT
        assert signature.startswith("\u2014 lab.example/ledger ")
        name, key_id, public = key.verifier_key.split("+", 2)
        assert name == "lab.example/ledger"
        digest = hashlib.sha256(b"lab.example/ledger\x0a" + base64.b64decode(public)).digest()
        assert base64.b64decode(signature.split(" ")[2])[:4] == digest[:4] == bytes.fromhex(key_id)
        assert base64.b64decode(public)[0] == 1

    def test_opens_with_its_key(self, settings: Settings) -> None:
        key = CheckpointKey.load_or_create(settings)
        checkpoint = open_checkpoint(key.sign(7, ROOT), key.verifier_key)
        assert (checkpoint.size, checkpoint.root) == (7, ROOT)

    def test_opens_beside_a_witness_signature(self, settings: Settings) -> None:
        key = CheckpointKey.load_or_create(settings)
        witnessed = key.sign(7, ROOT) + "\u2014 witness.example AAAAAAAA\n"
        assert open_checkpoint(witnessed, key.verifier_key).size == 7

    def test_with_another_size_does_not_open(self, settings: Settings) -> None:
        key = CheckpointKey.load_or_create(settings)
        with pytest.raises(Broken, match="signature is wrong"):
            open_checkpoint(key.sign(7, ROOT).replace("\n7\n", "\n8\n"), key.verifier_key)

    def test_of_another_key_does_not_open(self, settings: Settings, tmp_path: Path) -> None:
        other = CheckpointKey.load_or_create(settings.model_copy(update={"state_dir": tmp_path / "other"}))
        with pytest.raises(Broken, match="not signed by the key"):
            open_checkpoint(CheckpointKey.load_or_create(settings).sign(7, ROOT), other.verifier_key)

    @pytest.mark.parametrize("note", ["", "text", "lab.example/ledger\n7\nAAAA\n\n"])
    def test_without_a_signature_does_not_open(self, settings: Settings, note: str) -> None:
        with pytest.raises(Broken):
            open_checkpoint(note, CheckpointKey.load_or_create(settings).verifier_key)

    @pytest.mark.parametrize("key", ["", "lab.example/ledger", "lab.example/ledger+00000000+AAAA", "a+b+c"])
    def test_does_not_open_with_what_is_not_a_key(self, settings: Settings, key: str) -> None:
        with pytest.raises(Broken, match="verifier key"):
            open_checkpoint(CheckpointKey.load_or_create(settings).sign(7, ROOT), key)
