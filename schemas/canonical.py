"""Canonical JSON (RFC 8785) for what is hashed.

Two ways in, for two kinds of document. Our own ledger entries hold ASCII keys, integers below 2^53 and no floats;
for these `json.dumps` with sorted keys gives the bytes of RFC 8785 at five times the speed, and what does not
fit is refused at the door. Foreign documents (a client's PO) may hold floats and any key: they go through the
`rfc8785` package and only their hash is kept.
"""

import hashlib
import json
from json.encoder import encode_basestring
from typing import Any

import rfc8785

_EXACT = 2**53
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


class NotCanonical(ValueError):
    """The value cannot be hashed without ambiguity; the text says where and why."""


def canonical(value: Any) -> bytes:
    """The canonical bytes of our own data; raises `NotCanonical` for floats, big integers, non-ASCII keys."""
    _refuse_ambiguous(value, "$")
    try:
        return _encode(value).encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise NotCanonical(str(error)) from error


def canonical_text(text: str) -> str:
    """The canonical form of one text; raises `NotCanonical` for half of a surrogate pair."""
    if not text.isascii():
        canonical(text)
    return encode_basestring(text)


def document_hash(document: Any) -> str:
    """SHA-256 (hex) over the RFC 8785 form of a foreign document; raises `NotCanonical` where it has none."""
    return hashlib.sha256(document_bytes(document)).hexdigest()


def document_bytes(document: Any) -> bytes:
    """The RFC 8785 form of a foreign document; raises `NotCanonical` where it has none."""
    try:
        return rfc8785.dumps(document)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise NotCanonical(str(error)) from error


def _refuse_ambiguous(value: Any, path: str) -> None:
    match value:
        case str() | bool() | None:
            return
        case int():
            if abs(value) >= _EXACT:
                raise NotCanonical(f"{path}: integers must stay below 2^53; write {value} as text")
        case dict():
            for key, item in value.items():
                if not isinstance(key, str) or not key.isascii():
                    raise NotCanonical(f"{path}: key {key!r} must be ASCII text")
                if type(item) is not str:  # most are
                    _refuse_ambiguous(item, f"{path}.{key}")
        case list() | tuple():
            for index, item in enumerate(value):
                _refuse_ambiguous(item, f"{path}[{index}]")
        case _:
            raise NotCanonical(f"{path}: {type(value).__name__} is not allowed here; write it as text")
