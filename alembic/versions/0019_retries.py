"""Add how many attempts of a trial precede its last retry."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    excused = sa.Column("n_excused", sa.Integer, nullable=False, server_default="0")
    op.add_column("gradnoise_trial", excused)


def downgrade() -> None:
    op.drop_column("gradnoise_trial", "n_excused")
