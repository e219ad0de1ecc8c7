"""What people ask of a workflow, whatever it is about."""

from schemas.base import Identifier, Model, Text


class Reasoned(Model):
    """What a person asks for, and why. Over HTTP their token says who they are."""

    reason: Text


class Retrial(Reasoned):
    """A reason, for what needs none."""

    reason: Text = "retry"


class Request(Reasoned):
    """What a workflow is asked; `user_id` is who asks. A signal from the Temporal UI may leave it out."""

    user_id: Identifier = "unidentified"
