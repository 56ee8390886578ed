"""How the sample site's Gunicorn is set up: all workers end at the same time."""

workers = 3
worker_class = "gthread"
threads = 4
max_requests = 1000
max_requests_jitter = 0
timeout = 60
keepalive = 75
preload_app = True
