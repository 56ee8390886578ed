"""Keys by which a process signs its messages, made for a test."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


def sign_by(folder: Path, name: str, trusted: Path, days: int = 365) -> dict[str, str]:
    """Make a key with its certificate, and return the variables that let a process sign by it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    key_file, certificate_file = folder / f"{name}.key", folder / f"{name}.pem"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return {
        "MAINTENANCE_SIGNING_KEY": str(key_file),
        "MAINTENANCE_SIGNING_CERTIFICATE": str(certificate_file),
        "MAINTENANCE_SIGNING_TRUSTED": str(trusted),
    }


def sign_for_oneself(folder: Path) -> dict[str, str]:
    """Make a key in the new ``folder``, and return the variables of processes that trust it alone."""
    trusted = folder / "trusted"
    trusted.mkdir(parents=True)
    variables = sign_by(folder, "service", trusted)
    certificate = (folder / "service.pem").rename(trusted / "service.pem")
    return variables | {"MAINTENANCE_SIGNING_CERTIFICATE": str(certificate)}
