"""What a line of arrivals reports names the line: a PO may have the name of a part."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of what is open, only this has an end that its workflow says by the cause."""
    op.execute(
        """
        UPDATE alerts
        SET cause = concat_ws(
            ':', alert_type, source, substr(cause, length(concat_ws(':', alert_type, subject, '')) + 1)
        )
        WHERE alert_type = 'arrival_unclaimed' AND starts_with(cause, concat_ws(':', alert_type, subject, ''))
        """
    )
