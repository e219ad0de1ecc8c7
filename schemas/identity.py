"""Who is asking, as a verified token says it."""

from schemas.base import Identifier, Model, UtcDateTime
from schemas.permission import Role


class Identity(Model):
    """`auth_time` is when the person last logged in, not when the token was made."""

    user_id: Identifier
    role: Role
    auth_time: UtcDateTime
