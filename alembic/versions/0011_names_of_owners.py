"""Make the names of studies unique within their owner, and no name a whole number.

Optuna's studies, which have the names of ours, get the ids too.
"""

from contextlib import AbstractContextManager

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

study = sa.table(
    "gradnoise_study",
    sa.column("id", sa.Integer),
    sa.column("name", sa.String),
    sa.column("spec", sa.JSON),
)
optuna_study = sa.table("studies", sa.column("study_name", sa.String))


def upgrade() -> None:
    connection = op.get_bind()
    rows = connection.execute(sa.select(study)).all()
    if sa.inspect(connection).has_table("studies"):
        for row in rows:
            _rename_searches(f"{row.name} · ", f"{row.name} ({row.id}) · ")
    taken = {row.name for row in rows}
    for row in rows:
        if row.name.isdecimal():
            numbered = (f"study {row.name}-{i}" for i in range(len(rows) + 1))
            name = next(name for name in numbered if name not in taken)
            spec = {**row.spec, "name": name}
            op.execute(study.update().where(study.c.id == row.id).values(name=name, spec=spec))
            if sa.inspect(connection).has_table("studies"):
                _rename_searches(f"{row.name} ({row.id}) · ", f"{name} ({row.id}) · ")
    with _study_table() as batch_op:
        batch_op.drop_constraint("uq_gradnoise_study_name", type_="unique")
        batch_op.create_unique_constraint("uq_gradnoise_study_owner_name", ["owner", "name"])
        batch_op.create_index("ix_gradnoise_study_name", ["name"])


def downgrade() -> None:
    with _study_table() as batch_op:
        batch_op.drop_index("ix_gradnoise_study_name")
        batch_op.drop_constraint("uq_gradnoise_study_owner_name", type_="unique")
        batch_op.create_unique_constraint("uq_gradnoise_study_name", ["name"])


def _study_table() -> AbstractContextManager[BatchOperations]:
    # SQLite's table is made anew; ids of deleted studies must not be used again
    kept = {"sqlite_autoincrement": True}
    return op.batch_alter_table("gradnoise_study", schema=None, table_kwargs=kept)


def _rename_searches(start: str, new_start: str) -> None:
    name = optuna_study.c.study_name
    rest = sa.func.substr(name, len(start) + 1)
    begins = sa.func.substr(name, 1, len(start)) == start
    op.execute(optuna_study.update().where(begins).values(study_name=sa.literal(new_start) + rest))
