"""A Temporal server on which workflows have short runs."""

from pathlib import Path

from infra.embedded.temporal import Temporal

SUGGEST_AFTER = 40
"""Events of one run, instead of thousands."""


class EagerTemporal(Temporal):
    """Suggests continue-as-new early."""

    def command(self) -> list[str | Path]:
        early = f"limit.historyCount.suggestContinueAsNew={SUGGEST_AFTER}"
        return [*super().command(), "--dynamic-config-value", early]
