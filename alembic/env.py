"""Run migrations on the connection of gradnoise_service.store.migrate; exclude Optuna's tables."""

from typing import Any

from alembic import context

from gradnoise_service.store.tables import PREFIX, Base


def is_included(
    _object: Any, name: str | None, kind: str, _reflected: bool, _compared: Any
) -> bool:
    """Return whether a schema object is ours; Optuna's tables have another prefix."""
    return kind != "table" or (name is not None and name.startswith(PREFIX))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=PREFIX + "alembic_version",
    include_object=is_included,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
