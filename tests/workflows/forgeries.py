"""Decision tokens that do not count, each for one reason."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas.decision import Wanted
from tests.workflows.shop import Shop

Forgery = Callable[..., Awaitable[str]]
"""Called as `Shop.token` is, after the shop."""


def signed_by_nobody_known(token: str) -> str:
    """The same decision under another key."""
    claims, header = jwt.decode(token, options={"verify_signature": False}), jwt.get_unverified_header(token)
    return jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=header)


async def by_another_key(shop: Shop, wanted: Wanted, decision: str, **who: Any) -> str:
    return signed_by_nobody_known(await shop.token(wanted, decision, **who))


async def for_other_content(shop: Shop, wanted: Wanted, decision: str, **who: Any) -> str:
    return await shop.token(wanted.model_copy(update={"content_hash": "0" * 64}), decision, **who)


async def for_another_workflow(shop: Shop, wanted: Wanted, decision: str, **who: Any) -> str:
    return await shop.token(wanted.model_copy(update={"workflow_id": "test/OTHER"}), decision, **who)


async def expired(shop: Shop, wanted: Wanted, decision: str, **who: Any) -> str:
    token = await shop.token(wanted, decision, **who)
    await shop.pass_time(timedelta(minutes=11))
    return token


FORGERIES: tuple[Forgery, ...] = (by_another_key, for_other_content, for_another_workflow, expired)
