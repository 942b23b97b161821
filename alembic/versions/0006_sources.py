"""Add the code of studies whose workload is a file of the user's own."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gradnoise_source",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=80), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("folder", sa.String(length=1000), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("files", sa.JSON(), nullable=False),
        sa.Column("announced", sa.JSON(), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gradnoise_source")),
        sa.UniqueConstraint(
            "owner", "hash", "folder", name=op.f("uq_gradnoise_source_owner_hash_folder")
        ),
    )
    # not as a foreign key: SQLite would have to replace the table, which deletes its trials
    op.add_column("gradnoise_study", sa.Column("source_id", sa.Integer(), nullable=True))
    op.add_column("gradnoise_study", sa.Column("source_name", sa.String(255), nullable=True))


def downgrade() -> None:
    op.drop_column("gradnoise_study", "source_name")
    op.drop_column("gradnoise_study", "source_id")
    op.drop_table("gradnoise_source")
