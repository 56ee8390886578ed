"""The service behind a TLS proxy: what ``service.settings`` has, and HTTPS only.

The proxy must set X-Forwarded-Proto, and overwrite what a client sends under that name.
"""

from service.settings import *  # noqa: F403 - settings are inherited as a whole
from service.variables import whole_number

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = True
SECURE_HSTS_SECONDS = whole_number("DJANGO_HSTS_SECONDS", 365 * 86_400)
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
