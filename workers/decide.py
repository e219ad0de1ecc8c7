"""`smartfloor decide`: a decision token for the Temporal Web UI and CLI, where nobody is logged in."""

import httpx

from infra.settings import Settings


class NoToken(Exception):
    """The API did not give one; says why."""


def decision_token(settings: Settings, bearer: str, **decision: str | None) -> str:
    """Asks the API, which knows the bearer; raises `NoToken`."""
    url = f"{settings.api_url}/api/v1/decisions"
    try:
        answer = httpx.post(url, json=decision, headers={"Authorization": f"Bearer {bearer}"}, timeout=10)
    except httpx.TransportError as error:
        raise NoToken(f"the API does not answer at {url}: {error}") from error
    if not answer.is_success:
        try:
            problem = answer.json()
        except ValueError as error:
            raise NoToken(f"{url} answers {answer.status_code}, and not as the API does") from error
        faults = "; ".join(f"{fault['field']}: {fault['message']}" for fault in problem.get("errors", []))
        raise NoToken(f"{problem['title']}: {faults or problem['detail']}")
    token: str = answer.json()["token"]
    return token
