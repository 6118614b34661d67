from django.conf import settings
from django.db import models


class Course(models.Model):
    title = models.CharField(max_length=200)
    teacher = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE)
    client = models.ForeignKey("customers.Client", on_delete=models.CASCADE)
