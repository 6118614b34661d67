"""Django's PostgreSQL backend, with the login that is in the mounted Secret at the moment of connecting."""

from pathlib import Path
from urllib.parse import urlsplit

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    def get_connection_params(self):
        # One file, so that login and password belong together also in the moment in which the Secret changes.
        uri = urlsplit(Path("/etc/acme-db/uri").read_text())
        return super().get_connection_params() | {"user": uri.username, "password": uri.password}
