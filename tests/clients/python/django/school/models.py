from django.db import models


class Pupil(models.Model):
    name = models.TextField()

    class Meta:
        db_table = "pupils"
        managed = False
