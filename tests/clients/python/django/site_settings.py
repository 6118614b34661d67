"""A site whose database is that of examples/applications/django/settings.py."""

from settings import DATABASES  # noqa: F401

SECRET_KEY = "test"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "school"]
