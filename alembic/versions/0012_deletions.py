"""Add when a study was deleted, whose rows and files are then removed."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("gradnoise_study", schema=None) as batch_op:
        batch_op.add_column(sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_index(batch_op.f("ix_gradnoise_study_deleted_at"), ["deleted_at"])


def downgrade() -> None:
    with op.batch_alter_table("gradnoise_study", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_gradnoise_study_deleted_at"))
        batch_op.drop_column("deleted_at")
