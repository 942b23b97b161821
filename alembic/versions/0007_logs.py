"""Add what trials print."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gradnoise_log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("lease_token", sa.String(length=32), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["gradnoise_study.id"],
            name=op.f("fk_gradnoise_log_study_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["lease_token"],
            ["gradnoise_attempt.lease_token"],
            name=op.f("fk_gradnoise_log_lease_token"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gradnoise_log")),
        sa.UniqueConstraint(
            "lease_token", "position", name=op.f("uq_gradnoise_log_lease_token_position")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_gradnoise_log_study_id_id", "gradnoise_log", ["study_id", "id"])


def downgrade() -> None:
    op.drop_table("gradnoise_log")
