"""Record in the specs of existing studies that they ran without a rerun phase."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

study = sa.table("gradnoise_study", sa.column("id", sa.Integer), sa.column("spec", sa.JSON))


def upgrade() -> None:
    connection = op.get_bind()
    for study_id, spec in connection.execute(sa.select(study.c.id, study.c.spec)).all():
        spec["search"].setdefault("rerun", {"top": 1, "n_seeds": 0})
        connection.execute(sa.update(study).where(study.c.id == study_id).values(spec=spec))


def downgrade() -> None:
    connection = op.get_bind()
    for study_id, spec in connection.execute(sa.select(study.c.id, study.c.spec)).all():
        spec["search"].pop("rerun", None)
        connection.execute(sa.update(study).where(study.c.id == study_id).values(spec=spec))
