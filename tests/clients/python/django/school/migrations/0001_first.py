from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    operations = [
        migrations.CreateModel("Pupil", [("id", models.BigAutoField(primary_key=True)), ("name", models.TextField(db_index=True))], {"db_table": "pupils"}),
        migrations.CreateModel("Mark", [("id", models.BigAutoField(primary_key=True)), ("pupil", models.ForeignKey("school.Pupil", models.CASCADE))], {"db_table": "marks"}),
    ]
