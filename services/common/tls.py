"""What a caller shows and believes on an encrypted connection. Imports little: probes start often."""

from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True)
class ClientTls:
    """PEM files of a caller.

    Attributes:
        ca: authorities that may have signed a server's certificate.
        cert: the caller's own certificate chain, for servers that ask for one (mutual TLS).
        key: its private key.
    """

    ca: Path
    cert: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """For a channel.

        Raises:
            OSError: a file cannot be read.
        """
        ca, key, cert = (path.read_bytes() if path else None for path in (self.ca, self.key, self.cert))
        return grpc.ssl_channel_credentials(ca, key, cert)
