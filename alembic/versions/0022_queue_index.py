"""Let the index of the queue hold its studies alone; add one of the studies that started."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

TABLE = "gradnoise_study"
OLD = "ix_gradnoise_study_state_priority_owner_devices_acquired_until"


def upgrade() -> None:
    op.drop_index(OLD, TABLE)
    queued = ["priority", "owner", "devices", "state", "acquired_until", "acquired_from"]
    for name, columns, condition in (
        ("queue", queued, "state IN ('queued', 'running', 'stopping')"),
        ("started", ["workload", "id"], "started_at IS NOT NULL"),
    ):
        where = sa.text(condition)
        op.create_index(
            f"ix_gradnoise_study_{name}", TABLE, columns, sqlite_where=where, postgresql_where=where
        )


def downgrade() -> None:
    op.drop_index("ix_gradnoise_study_started", TABLE)
    op.drop_index("ix_gradnoise_study_queue", TABLE)
    op.create_index(OLD, TABLE, ["state", "priority", "owner", "devices", "acquired_until"])
