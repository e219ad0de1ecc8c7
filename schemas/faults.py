"""What is wrong with a document, field by field: one form for the API, the gateway and refused signals."""

from pydantic import ValidationError

from schemas.base import Model


class Fault(Model):
    """A field by its path, and what is wrong with it."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def faults(error: ValidationError) -> list[Fault]:
    """Every fault, without repeating the values."""
    return [
        Fault(
            field=".".join(str(part) for part in fault["loc"]) or "document",
            message=fault["msg"].removeprefix("Value error, "),
        )
        for fault in error.errors(include_url=False, include_context=False, include_input=False)
    ]
