"""Runs migrations on the connection that gradnoise_service.store.migrate hands over; Optuna's
tables are left alone.
"""

from typing import Any

from alembic import context

from gradnoise_service.store.tables import PREFIX, Base


def is_ours(_object: Any, name: str | None, kind: str, _reflected: bool, _compared: Any) -> bool:
    return kind != "table" or (name is not None and name.startswith(PREFIX))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=PREFIX + "alembic_version",
    include_object=is_ours,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
