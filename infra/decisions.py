"""Decision tokens: made by the API from a verified identity, checked by the workers with the public key alone.

The JWS is signed with Ed25519 by a key of its own: who can sign a decision cannot log anybody in, and the reverse.
"""

from datetime import UTC, datetime
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import ValidationError

from infra.keys import load_or_create, publish
from infra.settings import Settings
from schemas.decision import Decision, DecisionCheck, Verdict, refusal
from schemas.identity import Identity

_ALGORITHM = "EdDSA"
_TYPE = "decision+jwt"


class DecisionSigner:
    """Makes decision tokens, each for one decision of one person."""

    def __init__(self, settings: Settings) -> None:
        """Makes the key where there is none, and its public half beside it. Raises `OSError`."""
        self._key = load_or_create(settings.decision_key_file)
        publish(
            self._key,
            settings.decision_public_key_file,
            otherwise=f"{settings.decision_public_key_file} is not the public half of {settings.decision_key_file}: "
            "remove it here, and give the new one to every worker",
        )
        self._lasts = settings.decision_lasts

    def sign(
        self,
        identity: Identity,
        *,
        workflow_id: str,
        content_hash: str,
        decision: str,
        meaning: str,
        at: datetime | None = None,
    ) -> str:
        """The compact JWS; `at` is when the person decides, now where it is not given."""
        now = at or datetime.now(UTC)
        terms = Decision(
            token_id=uuid4().hex,
            workflow_id=workflow_id,
            content_hash=content_hash,
            decision=decision,
            meaning=meaning,
            person=identity.user_id,
            role=identity.role,
            auth_time=identity.auth_time,
            issued_at=now,
            expires_at=now + self._lasts,
        )
        return jwt.encode(terms.model_dump(mode="json"), self._key, algorithm=_ALGORITHM, headers={"typ": _TYPE})


class DecisionVerifier:
    """Checks decision tokens with the key that lies there when it is asked."""

    def __init__(self, settings: Settings) -> None:
        self._key_file = settings.decision_public_key_file
        self._login_lasts = settings.login_lasts

    def verify(self, check: DecisionCheck) -> Verdict:
        """The decision when it is the wanted one. Whatever is wrong refuses it, a key that is missing here as well."""
        verdict = self.read(check.token)
        if verdict.decision is None:
            return verdict
        reason = refusal(verdict.decision, check.wanted, at=check.at, login_lasts=self._login_lasts)
        return Verdict(decision=verdict.decision, refusal=reason)

    def read(self, token: str) -> Verdict:
        """What a token says whose signature is good, whatever the time: as the proof of what was decided once."""
        try:
            key = load_pem_public_key(self._key_file.read_bytes())
        except (OSError, ValueError) as error:
            return Verdict(refusal=f"decisions cannot be checked here, {self._key_file.name} is missing: {error}")
        if not isinstance(key, Ed25519PublicKey):
            return Verdict(refusal=f"decisions cannot be checked here, {self._key_file.name} is no Ed25519 key")
        try:
            if jwt.get_unverified_header(token).get("typ") != _TYPE:
                return Verdict(refusal="it is not a decision token")
            return Verdict(decision=Decision.model_validate(jwt.decode(token, key, algorithms=[_ALGORITHM])))
        except (jwt.PyJWTError, ValidationError) as error:
            return Verdict(refusal=f"its decision token is not valid ({type(error).__name__})")
