"""Add what stops on request have cut of a study."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    stops = sa.Column("stops", sa.JSON, nullable=False, server_default="[]")
    op.add_column("gradnoise_study", stops)


def downgrade() -> None:
    op.drop_column("gradnoise_study", "stops")
