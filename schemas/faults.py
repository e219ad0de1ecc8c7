"""What is wrong with a document, field by field: one form for the API, the gateway and refused signals."""

from pydantic import ValidationError

from schemas.base import Model, excerpt

LONGEST = 300
"""Characters of a field's path, and of what is wrong with it: whoever sends a document chooses its field names."""


class Fault(Model):
    """A field by its path, and what is wrong with it."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def faults(error: ValidationError) -> list[Fault]:
    """Every fault, without repeating the values, and field names no longer than people read."""
    return [
        Fault(
            field=excerpt(".".join(str(part) for part in fault["loc"]), LONGEST) or "document",
            message=excerpt(fault["msg"].removeprefix("Value error, "), LONGEST),
        )
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]
