"""The Celery side of a site, seen as a thing to look after: no worker of ours runs on its broker."""
