"""Add the extensions of a study: further confirm seeds, with the verdict before them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("gradnoise_study", schema=None) as batch_op:
        batch_op.add_column(sa.Column("extensions", sa.JSON(), nullable=False, server_default="[]"))
    with op.batch_alter_table("gradnoise_study", schema=None) as batch_op:
        batch_op.alter_column(
            "extensions", server_default=None, existing_type=sa.JSON(), existing_nullable=False
        )


def downgrade() -> None:
    with op.batch_alter_table("gradnoise_study", schema=None) as batch_op:
        batch_op.drop_column("extensions")
