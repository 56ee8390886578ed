# One image for web, beat, workers and Flower; what a container runs is its command. The servers that
# `make run` embeds are left out: in containers they have images of their own.
# `make pin-images` adds the digest of each base image.
FROM python:3.13.9-slim-trixie AS base

FROM base AS build
WORKDIR /opt/maintenance
COPY requirements/container.txt requirements.txt
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt
COPY manage.py celeryconfig.py flowerconfig.py ./
COPY maintenance maintenance
COPY service service
# Files keep the modes of the checkout, which a strict umask closes to the user below.
RUN .venv/bin/python -m compileall -q manage.py celeryconfig.py flowerconfig.py maintenance service \
    && chmod -R a+rX /opt/maintenance

FROM base
# A number, so that "must not run as root" can be checked; nobody logs in as it.
RUN groupadd --gid 10001 maintenance \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/maintenance --create-home \
        --shell /usr/sbin/nologin maintenance
COPY --from=build /opt/maintenance /opt/maintenance
WORKDIR /opt/maintenance
ENV PATH=/opt/maintenance/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=service.production \
    MAINTENANCE_STATE=/var/lib/maintenance
USER 10001:10001
STOPSIGNAL SIGTERM
CMD ["gunicorn", "service.wsgi", "--config", "python:service.up.gunicorn_settings", "--bind", "0.0.0.0:8000"]
