import sqlalchemy as sa
from alembic import op

revision = "second"
down_revision = "first"


def upgrade():
    op.add_column("pupils", sa.Column("born", sa.Date))
    op.drop_table("marks")
    op.create_table("teachers", sa.Column("id", sa.Integer, primary_key=True))
