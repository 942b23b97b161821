"""Bound leases on both sides; add whether studies are settled and how often they crashed."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.add_column("gradnoise_study", sa.Column("acquired_from", time, nullable=True))
    settled = sa.Column("is_settled", sa.Boolean, nullable=False, server_default=sa.true())
    op.add_column("gradnoise_study", settled)
    for name in ("n_crashes", "n_ended_at_crash"):
        column = sa.Column(name, sa.Integer, nullable=False, server_default="0")
        op.add_column("gradnoise_study", column)
    op.execute("UPDATE gradnoise_study SET acquired_until = NULL")  # due again at once
    op.execute("DELETE FROM gradnoise_dispatcher")  # announced again within a lease
    op.add_column("gradnoise_dispatcher", sa.Column("acquired_from", time, nullable=False))


def downgrade() -> None:
    op.drop_column("gradnoise_dispatcher", "acquired_from")
    for name in ("n_ended_at_crash", "n_crashes", "is_settled", "acquired_from"):
        op.drop_column("gradnoise_study", name)
