"""No node's disk stays open when a test has ended."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from infra.node_disk import NodeDisk


@pytest.fixture(autouse=True)
def closed_disks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is left to garbage collection is closed on whatever thread comes by, in a test to come."""
    opened: list[NodeDisk] = []
    begin = NodeDisk.__init__

    def opens(disk: NodeDisk, file: Path, schema: Iterable[str]) -> None:
        begin(disk, file, schema)
        opened.append(disk)

    monkeypatch.setattr(NodeDisk, "__init__", opens)
    yield
    for disk in opened:
        disk.close()
