"""Every table of the database, by subject; the migrations create exactly these (a test compares).

They are all loaded together, so that whoever has `metadata` has the whole of it.
"""

from infra.tables import (
    alert,
    approval,
    client_po,
    equipment,
    ledger,
    maintenance,
    maintenance_pattern,
    reverse_trace,
    test_execution,
    transfer,
)
from infra.tables.base import metadata

__all__ = [
    "alert",
    "approval",
    "client_po",
    "equipment",
    "ledger",
    "maintenance",
    "maintenance_pattern",
    "metadata",
    "reverse_trace",
    "test_execution",
    "transfer",
]
