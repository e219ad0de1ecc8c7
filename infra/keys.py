"""Private keys in files: made once, whole or not at all, and readable by their owner alone."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)


def place(file: Path, content: bytes) -> None:
    """Writes a file that only its owner can read, unless there is one."""
    with NamedTemporaryFile(dir=file.parent) as temporary:  # mode 600
        temporary.write(content)
        temporary.flush()
        os.fsync(temporary.fileno())
        try:
            os.link(temporary.name, file)  # whole or not at all, and never over another's key
        except FileExistsError:
            return


def load_or_create(file: Path) -> Ed25519PrivateKey:
    """The key in this file, made where there is none; of several processes that make one, the first wins.

    Raises `OSError`, and `ValueError` or `TypeError` where the file does not hold such a key.
    """
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = Ed25519PrivateKey.generate()
        place(file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    private = load_pem_private_key(file.read_bytes(), password=None)
    if not isinstance(private, Ed25519PrivateKey):
        raise TypeError(f"{file} does not hold an Ed25519 key")
    return private


def publish(key: Ed25519PrivateKey, file: Path, otherwise: str) -> None:
    """Places the public half (PEM) where others look for it.

    Raises `OSError`, and `ValueError` with the text `otherwise` where another key is there.
    """
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place(file, public)
    if file.read_bytes() != public:
        raise ValueError(otherwise)
