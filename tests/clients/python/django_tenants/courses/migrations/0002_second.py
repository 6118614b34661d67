from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("courses", "0001_first")]

    operations = [
        migrations.AddField("Course", "room", models.CharField(max_length=20, null=True)),
        migrations.CreateModel("Lesson", [("id", models.BigAutoField(primary_key=True))]),
    ]
