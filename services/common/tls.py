"""What a caller shows and believes on an encrypted connection. Imports little: probes start often."""

from collections.abc import Mapping
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


def check_together(files: Mapping[str, Path | None]) -> None:
    """Refuse settings of which one means nothing without the others.

    Raises:
        ValueError: some of them are set and some are not.
    """
    missing = [name for name, path in files.items() if path is None]
    if 0 < len(missing) < len(files):
        raise ValueError(f"{' and '.join(missing)} must be set as well: {', '.join(files)} belong together")
