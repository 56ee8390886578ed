"""The service behind a TLS proxy: what ``service.settings`` has, and HTTPS only.

The proxy must set X-Forwarded-Proto, and overwrite what a client sends under that name.
"""

import os

from service.settings import *  # noqa: F403 - settings are inherited as a whole

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = True
SECURE_HSTS_SECONDS = int(os.environ.get("DJANGO_HSTS_SECONDS", str(365 * 86_400)))
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
