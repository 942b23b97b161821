"""Add the messages of webhooks, and counters of events."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gradnoise_notice",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("key", sa.String(36), nullable=False),
        sa.Column("url", sa.String(500), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("n_attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gradnoise_notice")),
        sa.UniqueConstraint("key", name=op.f("uq_gradnoise_notice_key")),
    )
    op.create_index(op.f("ix_gradnoise_notice_due_at"), "gradnoise_notice", ["due_at"])
    op.create_table(
        "gradnoise_counter",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_gradnoise_counter")),
    )


def downgrade() -> None:
    op.drop_table("gradnoise_counter")
    op.drop_table("gradnoise_notice")
