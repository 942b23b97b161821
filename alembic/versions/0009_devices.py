"""Add which devices a study uses, and the numbers of a dispatcher's devices."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    devices = sa.Column("devices", sa.String(8), nullable=False, server_default="auto")
    op.add_column("gradnoise_study", devices)
    op.execute("DELETE FROM gradnoise_dispatcher")  # announced again within a lease
    with op.batch_alter_table("gradnoise_dispatcher", schema=None) as batch_op:
        batch_op.drop_column("device")
        batch_op.add_column(sa.Column("n_gpus", sa.Integer, nullable=False))
        batch_op.add_column(sa.Column("n_cores", sa.Integer, nullable=False))
        batch_op.add_column(sa.Column("faults", sa.JSON, nullable=False))


def downgrade() -> None:
    op.execute("DELETE FROM gradnoise_dispatcher")
    with op.batch_alter_table("gradnoise_dispatcher", schema=None) as batch_op:
        batch_op.drop_column("faults")
        batch_op.drop_column("n_cores")
        batch_op.drop_column("n_gpus")
        batch_op.add_column(sa.Column("device", sa.String(80), nullable=False))
    op.drop_column("gradnoise_study", "devices")
