"""A site of its own: plain Celery tasks and django-celery-beat rows, nothing of ours but the scheduler."""
