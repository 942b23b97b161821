"""Add tags and notes of studies, and a column of the workload to filter by."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

study = sa.table("gradnoise_study", sa.column("spec", sa.JSON), sa.column("workload", sa.Text))


def upgrade() -> None:
    with op.batch_alter_table("gradnoise_study", schema=None) as batch_op:
        for name, kind, default in (
            ("workload", sa.Text, ""),
            ("tags", sa.JSON, "[]"),
            ("note", sa.Text, ""),
        ):
            column = sa.Column(name, kind, nullable=False, server_default=default)
            batch_op.add_column(column)
        batch_op.create_index(batch_op.f("ix_gradnoise_study_workload"), ["workload"])
    op.execute(study.update().values(workload=study.c.spec["workload"].as_string()))


def downgrade() -> None:
    with op.batch_alter_table("gradnoise_study", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_gradnoise_study_workload"))
        for name in ("note", "tags", "workload"):
            batch_op.drop_column(name)
