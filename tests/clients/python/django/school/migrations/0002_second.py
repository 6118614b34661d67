from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("school", "0001_first")]

    operations = [
        migrations.AddField("Pupil", "born", models.DateField(null=True)),
        migrations.DeleteModel("Mark"),
        migrations.CreateModel("Teacher", [("id", models.BigAutoField(primary_key=True))], {"db_table": "teachers"}),
    ]
