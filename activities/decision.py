"""Checking the decisions of people."""

from typing import TYPE_CHECKING

from temporalio import activity

from schemas.decision import DecisionCheck, Verdict

if TYPE_CHECKING:
    from infra.decisions import DecisionVerifier


class DecisionActivities:
    """A decision counts only after this: workflows never look into a token themselves."""

    def __init__(self, verifier: "DecisionVerifier") -> None:
        self._verifier = verifier

    @activity.defn
    async def verify_decision(self, check: DecisionCheck) -> Verdict:
        """With keys that are loaded here; a key never enters a history."""
        return self._verifier.verify(check)
