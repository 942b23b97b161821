"""Add the name of the suite that a study belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("gradnoise_study", schema=None) as batch_op:
        batch_op.add_column(sa.Column("suite", sa.String(80), nullable=True))
        batch_op.create_index(batch_op.f("ix_gradnoise_study_suite"), ["suite"])


def downgrade() -> None:
    with op.batch_alter_table("gradnoise_study", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_gradnoise_study_suite"))
        batch_op.drop_column("suite")
