"""Create studies, trials, attempts, measurements, tokens, dispatchers and the catalogue."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "gradnoise_catalogue",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gradnoise_catalogue")),
    )
    op.create_table(
        "gradnoise_dispatcher",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("device", sa.String(length=80), nullable=False),
        sa.Column("n_slots", sa.Integer(), nullable=False),
        sa.Column("acquired_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gradnoise_dispatcher")),
    )
    op.create_table(
        "gradnoise_study",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=80), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("metric", sa.JSON(), nullable=False),
        sa.Column("protocol", sa.JSON(), nullable=False),
        sa.Column("comparison", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("verdict", sa.String(length=32), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("acquired_by", sa.String(length=80), nullable=True),
        sa.Column("acquired_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gradnoise_study")),
        sa.UniqueConstraint("name", name=op.f("uq_gradnoise_study_name")),
        sa.UniqueConstraint(
            "owner", "idempotency_key", name=op.f("uq_gradnoise_study_owner_idempotency_key")
        ),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("gradnoise_study", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_gradnoise_study_owner"), ["owner"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_gradnoise_study_state_priority"), ["state", "priority"], unique=False
        )

    op.create_table(
        "gradnoise_token",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("owner", sa.String(length=80), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gradnoise_token")),
        sa.UniqueConstraint("digest", name=op.f("uq_gradnoise_token_digest")),
        sa.UniqueConstraint("name", name=op.f("uq_gradnoise_token_name")),
    )
    op.create_table(
        "gradnoise_trial",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("arm", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("budget_epochs", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("params", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("optuna_number", sa.Integer(), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("diverged", sa.Boolean(), nullable=False),
        sa.Column("epochs", sa.Integer(), nullable=False),
        sa.Column("n_attempts", sa.Integer(), nullable=False),
        sa.Column("device_seconds", sa.Double(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["study_id"],
            ["gradnoise_study.id"],
            name=op.f("fk_gradnoise_trial_study_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gradnoise_trial")),
        sa.UniqueConstraint(
            "study_id",
            "phase",
            "arm",
            "number",
            name=op.f("uq_gradnoise_trial_study_id_phase_arm_number"),
        ),
    )
    with op.batch_alter_table("gradnoise_trial", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_gradnoise_trial_lease_token"), ["lease_token"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_gradnoise_trial_study_id_state"), ["study_id", "state"], unique=False
        )

    op.create_table(
        "gradnoise_attempt",
        sa.Column("lease_token", sa.String(length=32), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("device_seconds", sa.Double(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["trial_id"],
            ["gradnoise_trial.id"],
            name=op.f("fk_gradnoise_attempt_trial_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("lease_token", name=op.f("pk_gradnoise_attempt")),
        sa.UniqueConstraint(
            "trial_id", "number", name=op.f("uq_gradnoise_attempt_trial_id_number")
        ),
    )
    op.create_table(
        "gradnoise_measurement",
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("values", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id"],
            ["gradnoise_trial.id"],
            name=op.f("fk_gradnoise_measurement_trial_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("trial_id", "epoch", name=op.f("pk_gradnoise_measurement")),
    )


def downgrade() -> None:
    op.drop_table("gradnoise_measurement")
    op.drop_table("gradnoise_attempt")
    with op.batch_alter_table("gradnoise_trial", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_gradnoise_trial_study_id_state"))
        batch_op.drop_index(batch_op.f("ix_gradnoise_trial_lease_token"))

    op.drop_table("gradnoise_trial")
    op.drop_table("gradnoise_token")
    with op.batch_alter_table("gradnoise_study", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_gradnoise_study_state_priority"))
        batch_op.drop_index(batch_op.f("ix_gradnoise_study_owner"))

    op.drop_table("gradnoise_study")
    op.drop_table("gradnoise_dispatcher")
    op.drop_table("gradnoise_catalogue")
