"""Reading documents that people send: JSON or YAML, with the values that JSON has.

In YAML an unquoted date stays the text that was written, so that the same document gives the same hash in both
notations.
"""

import json
from typing import Any

import yaml


class NotReadable(ValueError):
    """The text is neither JSON nor YAML of one document that is an object; says where and why."""


class _JsonLoader(yaml.CSafeLoader):
    """YAML without its own idea of time."""


_JsonLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


DEEPEST = 64
"""Levels of a document: far more than a contract has, far less than what the stack of any reader overflows at."""

TOO_DEEP = f"the document has more than {DEEPEST} levels"

_OPENS = (
    *(yaml.BlockMappingStartToken, yaml.BlockSequenceStartToken),
    *(yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken),
)
_CLOSES = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)


def read_document(text: bytes, *, is_yaml: bool) -> dict[str, Any]:
    """One object; raises `NotReadable`. YAML aliases are refused: a small text with them can be a huge document."""
    try:
        if is_yaml:
            _scan(text)
        document = yaml.load(text, _JsonLoader) if is_yaml else json.loads(text, parse_constant=_refuse_constant)
    except NotReadable:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise NotReadable(f"not readable as {'YAML' if is_yaml else 'JSON'}: {error}") from error
    if not isinstance(document, dict):
        raise NotReadable("the document must be an object with named fields")
    if _deeper_than(DEEPEST, document):
        raise NotReadable(TOO_DEEP)
    return document


class _Dumper(yaml.CSafeDumper):
    """Writes repeated parts out, as the reader wants them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def write_document(document: dict[str, Any]) -> str:
    """As YAML that `read_document` reads, its fields in their order."""
    return yaml.dump(document, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=120)


def _scan(text: bytes) -> None:
    """Before the text is loaded: the loader overflows the stack of the process where a text is deep."""
    depth = 0
    for token in yaml.scan(text, _JsonLoader):
        if isinstance(token, yaml.AliasToken):
            raise NotReadable("write repeated parts out: YAML aliases (*name) are not taken")
        depth += isinstance(token, _OPENS) - isinstance(token, _CLOSES)
        if depth > DEEPEST:
            raise NotReadable(TOO_DEEP)


def _deeper_than(levels: int, value: Any) -> bool:
    match value:
        case dict():
            return levels == 0 or any(_deeper_than(levels - 1, item) for item in value.values())
        case list():
            return levels == 0 or any(_deeper_than(levels - 1, item) for item in value)
        case _:
            return False


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")
