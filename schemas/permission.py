"""Who may do what (specification 5, 6.4): its roles and permissions exactly, and those that a laboratory has beside.

A role comes from a verified token alone; what it may comes from this table alone.
"""

from enum import StrEnum


class Permission(StrEnum):
    """What a route or a decision asks for."""

    SCHEDULE_VIEW = "schedule:view"
    SCHEDULE_EDIT = "schedule:edit"
    SCHEDULE_APPROVE = "schedule:approve"
    JOB_VIEW = "job:view"
    JOB_CREATE = "job:create"
    JOB_RELEASE = "job:release"
    MACHINE_VIEW = "machine:view"
    MACHINE_CONFIG = "machine:config"
    REPORT_VIEW = "report:view"
    REPORT_EXPORT = "report:export"
    AI_TRIGGER = "ai:trigger"
    AI_APPROVE = "ai:approve"

    # Beside the specification's table.
    PO_HOLD = "po:hold"
    PO_AMEND = "po:amend"
    PO_CANCEL = "po:cancel"
    ARRIVAL_REPORT = "arrival:report"
    ARRIVAL_WITHDRAW = "arrival:withdraw"
    TEST_PERFORM = "test:perform"
    TEST_SIGN = "test:sign"
    DISPOSITION_DECIDE = "disposition:decide"
    EQUIPMENT_CALIBRATE = "equipment:calibrate"
    CONTRACT_DEPLOY = "contract:deploy"
    TRANSFER_RETRY = "transfer:retry"
    TRANSFER_RECEIVE = "transfer:receive"
    AUTHORIZATION_SUBMIT = "authorization:submit"
    OPERATION_EXECUTE = "operation:execute"
    SIMTRANS_OPERATE = "simtrans:operate"
    LEDGER_READ = "ledger:read"
    ALERT_VIEW = "alert:view"
    ALERT_ACKNOWLEDGE = "alert:acknowledge"
    APPROVAL_VIEW = "approval:view"
    APPROVAL_RESPOND = "approval:respond"


class Role(StrEnum):
    """The specification's four, and those that a laboratory has; `service` is a machine or a gateway."""

    OPERATOR = "operator"
    SUPERVISOR = "supervisor"
    PRODUCTION_MANAGER = "production_manager"
    ADMIN = "admin"
    INSPECTOR = "inspector"
    QUALITY_MANAGER = "quality_manager"
    MAINTENANCE_ENGINEER = "maintenance_engineer"
    PROGRAMMER = "programmer"
    SERVICE = "service"


_P = Permission

_EVERY_PERSON = frozenset({_P.JOB_VIEW, _P.ALERT_VIEW, _P.APPROVAL_VIEW})

_OPERATOR = _EVERY_PERSON | {
    *(_P.SCHEDULE_VIEW, _P.MACHINE_VIEW),
    *(_P.ARRIVAL_REPORT, _P.OPERATION_EXECUTE),
}
_SUPERVISOR = _OPERATOR | {
    *(_P.SCHEDULE_EDIT, _P.JOB_CREATE, _P.REPORT_VIEW, _P.AI_TRIGGER),
    *(_P.PO_HOLD, _P.PO_AMEND, _P.PO_CANCEL, _P.ARRIVAL_WITHDRAW),
    *(_P.TRANSFER_RETRY, _P.LEDGER_READ, _P.ALERT_ACKNOWLEDGE),
}
_PRODUCTION_MANAGER = _SUPERVISOR | {
    *(_P.SCHEDULE_APPROVE, _P.JOB_RELEASE, _P.MACHINE_CONFIG, _P.REPORT_EXPORT, _P.AI_APPROVE),
    *(_P.DISPOSITION_DECIDE, _P.APPROVAL_RESPOND, _P.SIMTRANS_OPERATE),
}

ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.OPERATOR: _OPERATOR,
    Role.SUPERVISOR: _SUPERVISOR,
    Role.PRODUCTION_MANAGER: _PRODUCTION_MANAGER,
    Role.ADMIN: frozenset(Permission),
    Role.INSPECTOR: _EVERY_PERSON
    | {
        *(_P.ARRIVAL_REPORT, _P.PO_HOLD, _P.TEST_PERFORM, _P.TEST_SIGN),
        *(_P.MACHINE_VIEW, _P.ALERT_ACKNOWLEDGE),
    },
    Role.QUALITY_MANAGER: _EVERY_PERSON
    | {
        *(_P.PO_HOLD, _P.PO_AMEND, _P.ARRIVAL_WITHDRAW, _P.TEST_SIGN, _P.DISPOSITION_DECIDE),
        *(_P.APPROVAL_RESPOND, _P.CONTRACT_DEPLOY, _P.TRANSFER_RETRY),
        *(_P.LEDGER_READ, _P.REPORT_VIEW, _P.REPORT_EXPORT, _P.ALERT_ACKNOWLEDGE),
    },
    Role.MAINTENANCE_ENGINEER: _EVERY_PERSON
    | {
        *(_P.MACHINE_VIEW, _P.MACHINE_CONFIG, _P.EQUIPMENT_CALIBRATE, _P.CONTRACT_DEPLOY),
        *(_P.APPROVAL_RESPOND, _P.ALERT_ACKNOWLEDGE, _P.REPORT_VIEW),
    },
    Role.PROGRAMMER: _EVERY_PERSON | {_P.SCHEDULE_VIEW, _P.MACHINE_VIEW, _P.SIMTRANS_OPERATE},
    Role.SERVICE: frozenset(
        {_P.JOB_VIEW, _P.JOB_CREATE, _P.ARRIVAL_REPORT, _P.TRANSFER_RECEIVE, _P.AUTHORIZATION_SUBMIT}
    ),
}


def may(role: Role, permission: Permission) -> bool:
    """The one question."""
    return permission in ROLE_PERMISSIONS[role]
