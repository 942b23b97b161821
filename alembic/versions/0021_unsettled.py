"""Add an index for the studies that are not settled."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_gradnoise_study_is_settled", "gradnoise_study", ["is_settled"])


def downgrade() -> None:
    op.drop_index("ix_gradnoise_study_is_settled", "gradnoise_study")
