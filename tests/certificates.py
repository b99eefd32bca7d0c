"""Certificates of a made authority, as files."""

from dataclasses import dataclass
from pathlib import Path

import trustme

from services.common.tls import ClientTls


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority, and a certificate of it for 127.0.0.1 that serves and calls."""

    ca: Path
    cert: Path
    key: Path

    @property
    def caller(self) -> ClientTls:
        """Shows the certificate."""
        return ClientTls(self.ca, self.cert, self.key)

    @property
    def stranger(self) -> ClientTls:
        """Believes the authority, and shows nothing."""
        return ClientTls(self.ca)

    def server(self) -> dict[str, Path]:
        """Settings of a server that lets in who shows a certificate."""
        return {"tls_cert": self.cert, "tls_key": self.key, "tls_client_ca": self.ca}


def make_certificates(directory: Path) -> Certificates:
    """Those of a new authority, in files of the directory, which is made."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    files = Certificates(*(directory / f"{name}.pem" for name in ("ca", "cert", "key")))
    authority.cert_pem.write_to_path(str(files.ca))
    leaf.private_key_pem.write_to_path(str(files.key))
    files.cert.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    return files
