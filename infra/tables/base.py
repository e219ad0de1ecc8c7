"""What every table of the database is written with."""

from sqlalchemy import Column, DateTime, MetaData

metadata = MetaData()


def moment(name: str, *, nullable: bool = False) -> Column[object]:
    """A time, kept in UTC."""
    return Column(name, DateTime(timezone=True), nullable=nullable)
