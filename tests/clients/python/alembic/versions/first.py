import sqlalchemy as sa
from alembic import op

revision = "first"
down_revision = None


def upgrade():
    op.create_table("pupils", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text, nullable=False))
    op.create_index("pupils_by_name", "pupils", ["name"])
    op.create_table("marks", sa.Column("id", sa.Integer, primary_key=True), sa.Column("pupil", sa.Integer, sa.ForeignKey("pupils.id")))
