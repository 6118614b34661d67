import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("customers", "0001_initial"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.CreateModel(
            "Course",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("title", models.CharField(max_length=200)),
                (
                    "teacher",
                    models.ForeignKey(
                        settings.AUTH_USER_MODEL, null=True, on_delete=django.db.models.deletion.CASCADE
                    ),
                ),
                ("client", models.ForeignKey("customers.Client", on_delete=django.db.models.deletion.CASCADE)),
            ],
        ),
    ]
