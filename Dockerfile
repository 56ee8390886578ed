# One image for web, beat, workers and Flower; what a container runs is its command.
FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    DJANGO_SETTINGS_MODULE=service.production \
    REMAP_SIGTERM=SIGQUIT \
    MAINTENANCE_STATE=/var/lib/maintenance

WORKDIR /opt/maintenance
COPY requirements/service.txt requirements/service.txt
RUN pip install --require-hashes -r requirements/service.txt \
    && useradd --system --home-dir /var/lib/maintenance --create-home maintenance
COPY . .
USER maintenance
VOLUME /var/lib/maintenance
CMD ["gunicorn", "service.wsgi", "--bind", "0.0.0.0:8000", "--workers", "1", "--threads", "4"]
