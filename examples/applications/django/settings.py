# Of an application on Django 5.2 or newer with psycopg 3. The login is not here: acme/postgresql/base.py beside this file
# reads it whenever Django connects.
from pathlib import Path

DB = Path("/etc/acme-db")

DATABASES = {
    "default": {
        "ENGINE": "acme.postgresql",
        "HOST": (DB / "host").read_text(),
        "PORT": (DB / "port").read_text(),
        "NAME": (DB / "database").read_text(),
        # The server's certificate and the name in it are verified. No search_path: the login has it.
        "OPTIONS": {"sslmode": "verify-full", "sslrootcert": str(DB / "ca.crt")},
        # Shorter than rotationGraceSeconds, so that connections of the former login are over before it is closed.
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        # Behind a pooler in transaction mode:
        # "DISABLE_SERVER_SIDE_CURSORS": True,
    }
}
