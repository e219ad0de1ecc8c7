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


def read_document(text: bytes, *, is_yaml: bool) -> dict[str, Any]:
    """One object; raises `NotReadable`. YAML aliases are refused: a small text with them can be a huge document."""
    try:
        if is_yaml and any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, _JsonLoader)):
            raise NotReadable("write repeated parts out: YAML aliases (*name) are not taken")
        document = yaml.load(text, _JsonLoader) if is_yaml else json.loads(text, parse_constant=_refuse_constant)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise NotReadable(f"not readable as {'YAML' if is_yaml else 'JSON'}: {error}") from error
    if not isinstance(document, dict):
        raise NotReadable("the document must be an object with named fields")
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")
