"""Requests of a Django application: one in the main thread, further ones at the same time in threads of their own."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
django.setup()

from django.core.signals import request_finished, request_started  # noqa: E402
from django.db import connection  # noqa: E402
from school.models import Pupil  # noqa: E402


def request():
    request_started.send(None)
    try:
        Pupil.objects.create(name="Ada")
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_user FROM pg_stat_ssl, pg_sleep(0.3) WHERE pid = pg_backend_pid() AND ssl")
            return cursor.fetchone()[0]
    finally:
        request_finished.send(None)


def in_thread():
    try:
        return request()
    finally:
        connection.close()


for line in sys.stdin:
    try:
        with ThreadPoolExecutor(8) as threads:
            others = [threads.submit(in_thread) for _ in range(int(line) - 1)]
            logins = [request()] + [other.result() for other in others]
        print("answer:", *logins, flush=True)
    except Exception as error:
        print("answer: error:", " ".join(str(error).split()), flush=True)
