"""The registry of nodes, read from its settings file."""

from pathlib import Path

import yaml
from pydantic import Field

from schemas.base import Model
from schemas.node import Node


class Registry(Model):
    """The nodes that a SmartClientPO may name; a location with a node's ID is a place at that node."""

    nodes: tuple[Node, ...] = Field(min_length=1)

    def __contains__(self, node_id: str) -> bool:
        return any(node.node_id == node_id for node in self.nodes)

    def __getitem__(self, node_id: str) -> Node:
        for node in self.nodes:
            if node.node_id == node_id:
                return node
        raise KeyError(node_id)

    def or_unknown(self, node_id: str) -> Node:
        """The node; one that is not in the registry (any more) has the days of the hub, in UTC."""
        return self[node_id] if node_id in self else Node(node_id=node_id, station_type="unknown", name=node_id)


def load_registry(file: Path) -> Registry:
    """Raises `OSError` or `pydantic.ValidationError` where the file cannot be used."""
    return Registry.model_validate(yaml.safe_load(file.read_text()))
