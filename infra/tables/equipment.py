"""The equipment register, with what happened to each instrument."""

from sqlalchemy import BigInteger, Boolean, Column, Date, Index, Integer, Table, Text

from infra.tables.base import metadata, moment

equipment = Table(
    "equipment",
    metadata,
    Column("equipment_id", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),  # of its last change: that entry's number and one
    Column("equipment_type", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("node_id", Text, nullable=False),  # where it is now
    Column("at_node_since", BigInteger, nullable=False),  # the revision of what brought it there, or back into service
    Column("home_node", Text, nullable=False),
    Column("work_center", Text),
    Column("calibration_interval_days", Integer),
    Column("warning_days", Integer, nullable=False),
    Column("out_of_service", Text),  # why, while it is
    Column("calibration_scheduled_on", Date),
    moment("registered_at"),
    moment("updated_at"),
    Index("equipment_revision", "revision"),
    Index("equipment_node", "node_id", "equipment_type"),
)

equipment_events = Table(
    "equipment_events",
    metadata,
    Column("entry", BigInteger, primary_key=True, autoincrement=False),  # the number of the ledger entry that says so
    Column("event", Text, primary_key=True),
    Column("equipment_id", Text, nullable=False),
    Column("node_id", Text, nullable=False),
    Column("work_center", Text),  # what planning closes and opens with it
    Column("reason", Text),
    Column("user_id", Text, nullable=False),
    moment("occurred_at"),
    Index("equipment_events_equipment", "equipment_id", "entry"),
)

calibrations = Table(
    "calibrations",
    metadata,
    Column("equipment_id", Text, primary_key=True),
    Column("certificate_number", Text, primary_key=True),
    Column("calibrated_on", Date, nullable=False),
    Column("due_on", Date),
    Column("result", Text, nullable=False),
    Column("found_out_of_tolerance", Boolean, nullable=False),
    Column("corrects", Text),  # the certificate of the same instrument that it stands for
    Column("calibration", Text, nullable=False),  # JSON: the whole record
    Column("node_id", Text, nullable=False),  # where it was recorded
    Column("recorded_by", Text, nullable=False),
    Column("entry", BigInteger, nullable=False),  # the number of the ledger entry that says so
    moment("recorded_at"),
    Index("calibrations_newest", "equipment_id", "calibrated_on", "recorded_at", "entry"),
)
