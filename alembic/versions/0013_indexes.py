"""Add indexes for the queue, for the studies that are held, and for the trials with an error."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


OLD = "ix_gradnoise_study_state_priority"
QUEUE = "ix_gradnoise_study_state_priority_owner_devices_acquired_until"


def upgrade() -> None:
    op.drop_index(OLD, "gradnoise_study")
    columns = ["state", "priority", "owner", "devices", "acquired_until"]
    op.create_index(QUEUE, "gradnoise_study", columns)
    for name, table, columns, condition in (
        ("ix_gradnoise_study_held", "gradnoise_study", ["acquired_until"], "acquired_until"),
        ("ix_gradnoise_trial_errors", "gradnoise_trial", ["study_id", "arm"], "error"),
    ):
        is_set = sa.text(f"{condition} IS NOT NULL")
        op.create_index(name, table, columns, sqlite_where=is_set, postgresql_where=is_set)


def downgrade() -> None:
    op.drop_index("ix_gradnoise_trial_errors", "gradnoise_trial")
    op.drop_index("ix_gradnoise_study_held", "gradnoise_study")
    op.drop_index(QUEUE, "gradnoise_study")
    op.create_index(OLD, "gradnoise_study", ["state", "priority"])
