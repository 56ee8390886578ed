"""The service's own Celery on a Redis behind TLS: certificates are verified, and work is done."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.embedded.ports import LOOPBACK, free_port
from service.up.errors import UpRefused
from service.up.servers import refuse_unusable_broker
from tests.integration.test_service_brokers import run_a_task, service_environment, worker
from tests.local_containers import ROOT, ProcessContainer
from tests.redis_servers import binaries_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

PASSWORD = "word"


def certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for loopback that nobody else has signed, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis of a test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "redis.pem", folder / "redis.key"
    paths[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@pytest.fixture
def redis_behind_tls(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a Redis that speaks TLS alone, and the certificate that signs for it."""
    public, key = certificate(tmp_path)
    port = free_port()
    command = [str(binaries_of("redis").server), "--port", "0", "--tls-port", str(port)]
    command += ["--bind", LOOPBACK, "--dir", str(tmp_path), "--requirepass", PASSWORD]
    command += ["--tls-cert-file", str(public), "--tls-key-file", str(key)]
    command += ["--tls-ca-cert-file", str(public), "--tls-auth-clients", "no"]

    def answers() -> bool:
        try:
            with redis.Redis(LOOPBACK, port, password=PASSWORD, ssl=True, ssl_ca_certs=str(public)) as client:  # fmt: skip
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    server = ProcessContainer("tls", lambda _node: command, tmp_path, is_up=answers)
    yield f"rediss://:{PASSWORD}@{LOOPBACK}:{port}/0", public
    server.remove()


def test_a_task_is_run_where_the_address_names_who_signs(
    redis_behind_tls: tuple[str, Path], tmp_path: Path
) -> None:
    url, public = redis_behind_tls
    environment = service_environment(tmp_path, REDIS_URL=f"{url}?ssl_ca_certs={public}")
    with worker(tmp_path, environment) as container:
        run_a_task(environment)
        logs = container.logs().decode()
    assert "Traceback" not in logs
    assert "insecure" not in logs


@pytest.mark.parametrize(("query", "is_refused"), [("", True), ("?ssl_cert_reqs=none", False)])
def test_a_certificate_that_nobody_knows_is_refused_unless_the_address_says_otherwise(
    redis_behind_tls: tuple[str, Path], tmp_path: Path, query: str, is_refused: bool
) -> None:
    asked = (
        "from service.celery import app\n"
        "for client in (app.connection().channel().client, app.backend.client):\n"
        "    try:\n"
        "        print(client.ping())\n"
        "    except Exception as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=ROOT,
        env=service_environment(tmp_path, REDIS_URL=redis_behind_tls[0] + query),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.count("True") == (0 if is_refused else 2), done.stdout + done.stderr
    assert ("certificate verify failed" in done.stdout + done.stderr) is is_refused


def test_up_reads_what_celery_says_of_certificates(redis_behind_tls: tuple[str, Path]) -> None:
    url, public = redis_behind_tls
    with pytest.raises(UpRefused, match="certificate verify failed"):
        refuse_unusable_broker(f"{url}?ssl_cert_reqs=CERT_REQUIRED")
    refuse_unusable_broker(f"{url}?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={public}")


def test_flower_looks_at_the_queues(redis_behind_tls: tuple[str, Path], tmp_path: Path) -> None:
    url, public = redis_behind_tls
    asked = (
        "import asyncio, celeryconfig\n"
        "from flower.utils.broker import Broker\n"
        "broker = Broker(celeryconfig.broker_url, broker_use_ssl=celeryconfig.broker_use_ssl)\n"
        "print(asyncio.run(broker.queues(['high'])))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=ROOT,
        env=service_environment(tmp_path, REDIS_URL=f"{url}?ssl_ca_certs={public}"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "[{'name': 'high', 'messages': 0}]", done.stdout + done.stderr
