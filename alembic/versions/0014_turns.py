"""Index the starts of each owner at each priority, whose latest determines whose turn it is."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_gradnoise_study_owner", table_name="gradnoise_study")
    op.create_index(
        "ix_gradnoise_study_owner_priority_started_at",
        "gradnoise_study",
        ["owner", "priority", "started_at"],
    )


def downgrade() -> None:
    op.drop_index("ix_gradnoise_study_owner_priority_started_at", table_name="gradnoise_study")
    op.create_index("ix_gradnoise_study_owner", "gradnoise_study", ["owner"])
