"""Mutual TLS with a wallet, as Autonomous Database asks for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from operators.io.store.oracle import OracleStore
from operators.io.store.oracle.connect import Access
from operators.io.store.protocol import StoreError, StoreUnavailable
from tests.support.mirror import Mirror

pytestmark = pytest.mark.mirror
PHRASE = "wallet phrase"


@dataclass
class Signed:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self, phrase: str | None = None) -> bytes:
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if phrase:
            encryption = serialization.BestAvailableEncryption(phrase.encode())
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )


def signed(name: str, authority: Signed | None = None) -> Signed:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    today = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject if authority else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), True)
        .sign(authority.key if authority else key, hashes.SHA256())
    )
    return Signed(certificate, key)


@pytest.fixture
def wallet(mirror: Mirror, tmp_path: Path) -> Iterator[Path]:
    """A wallet folder for a server that asks for client certificates."""
    authority = signed("authority")
    server, client = signed("localhost", authority), signed("banditflow", authority)
    certificates = tmp_path / "certificates"
    folder = tmp_path / "wallet"
    certificates.mkdir()
    folder.mkdir()
    (certificates / "server.pem").write_bytes(server.key_pem() + server.pem())
    (certificates / "ca.pem").write_bytes(authority.pem())
    (folder / "ewallet.pem").write_bytes(client.key_pem(PHRASE) + client.pem() + authority.pem())
    with mirror.with_tls(certificates) as port:
        (folder / "tnsnames.ora").write_text(
            "store_high = (DESCRIPTION = (ADDRESS = (PROTOCOL = tcps)(HOST = localhost)"
            f"(PORT = {port}))(CONNECT_DATA = (SERVICE_NAME = FREEPDB1)))\n"
        )
        yield folder


def test_the_wallet_opens_the_store(mirror: Mirror, wallet: Path) -> None:
    access = mirror.access(dsn="store_high", wallet=str(wallet), wallet_password=PHRASE)
    store = OracleStore(access)
    store.ping()
    assert store.counts()["decisions"] == 0
    store.close()


def test_without_a_certificate_the_server_refuses(mirror: Mirror, wallet: Path) -> None:
    """The wallet without our own certificate: the server is trusted, but does not trust us."""
    everything = (wallet / "ewallet.pem").read_text()
    begin = "-----BEGIN CERTIFICATE-----"
    (wallet / "ewallet.pem").write_text(begin + everything.rpartition(begin)[2])
    refused(mirror.access(dsn="store_high", wallet=str(wallet), acquire_timeout=2.0))


def test_a_server_of_another_authority_is_refused(mirror: Mirror, wallet: Path) -> None:
    description = (wallet / "tnsnames.ora").read_text().partition("=")[2].strip()
    text = refused(mirror.access(dsn=description, acquire_timeout=2.0))
    assert "CERTIFICATE_VERIFY_FAILED" in text


def test_a_wrong_wallet_password_is_an_error(mirror: Mirror, wallet: Path) -> None:
    stopped(mirror.access(dsn="store_high", wallet=str(wallet), wallet_password="unspoken"))


@pytest.mark.parametrize("content", [None, "no certificates"])
def test_a_wallet_that_is_none_is_an_error(
    mirror: Mirror, wallet: Path, content: str | None
) -> None:
    (wallet / "ewallet.pem").unlink()
    if content is not None:
        (wallet / "ewallet.pem").write_text(content)
    stopped(mirror.access(dsn="store_high", wallet=str(wallet), acquire_timeout=2.0))


def stopped(access: Access) -> None:
    """See that waiting is not tried: the wallet has to be mended."""
    store = OracleStore(access)
    with pytest.raises(StoreError, match="see BANDITFLOW_STORE_WALLET") as caught:
        store.ping()
    store.close()
    assert not isinstance(caught.value, StoreUnavailable)
    assert "unspoken" not in str(caught.value)


def refused(access: Access) -> str:
    store = OracleStore(access)
    with pytest.raises(StoreUnavailable, match=r"DPY-(6005|4011)") as caught:
        store.ping()
    store.close()
    return str(caught.value)
