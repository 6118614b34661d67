"""What the site does: `make SCHEMA` makes a school, `add SCHEMA TITLE` a course in it; each prints how many courses it has."""

import os
import sys

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
django.setup()

from courses.models import Course  # noqa: E402
from customers.models import Client  # noqa: E402
from django_tenants.utils import schema_context  # noqa: E402

what, schema, *title = sys.argv[1:]
if what == "make":
    Client(schema_name=schema, name=schema).save()
school = Client.objects.get(schema_name=schema)
with schema_context(schema):
    for name in title:
        Course.objects.create(title=name, client=school)
    print(Course.objects.count())
