"""Decisions of people inside workflows."""

from typing import Any

from temporalio import workflow

from activities.decision import DecisionActivities
from schemas.decision import Decision, DecisionCheck, Verdict, Wanted
from workflows.steps import step


async def verify(token: str | None, wanted: Wanted, used: list[str]) -> Verdict:
    """The decision that a token carries, when it is the wanted one at this moment, else why not.

    Its ID is added to `used`: the same token is refused the next time. It names one workflow, which keeps that list.
    """
    if token is None:
        return Verdict(refusal="it needs a decision token: see `smartfloor decide`")
    check = DecisionCheck(token=token, wanted=wanted, at=workflow.now())
    verdict = await step(
        DecisionActivities.verify_decision, check, summary=f"check the decision on {wanted.workflow_id}"
    )
    if verdict.decision is not None and verdict.refusal is None:
        if verdict.decision.token_id in used:
            return verdict.model_copy(update={"refusal": "its decision token was used before"})
        used.append(verdict.decision.token_id)
    return verdict


def proof_of(decision: Decision, token: str | None) -> dict[str, Any]:
    """What an entry keeps of a decision that counted: what it said, and the token that anybody can check."""
    return {"decision": decision.model_dump(mode="json"), "proof": token}
