"""`python -m services.common.probe HOST:PORT`: exits with 0 when the gRPC health service there says SERVING.

For containers' health checks, and for Kubernetes where a server speaks TLS, which its own gRPC probes do not.
"""

import argparse
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.tls import ClientTls


def is_serving(
    address: str, *, tls: ClientTls | None = None, tls_name: str | None = None, timeout: float = 1.0
) -> bool:
    """Whether the server at `host:port` says that it serves; False too when nobody answers in `timeout` seconds.

    Args:
        address: of the server.
        tls: certificates; None speaks without TLS.
        tls_name: name that the certificate must bear, where it is not the address's.
        timeout: seconds.
    """
    with _channel(address, tls, tls_name) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _channel(address: str, tls: ClientTls | None, tls_name: str | None) -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(address)
    options = [("grpc.ssl_target_name_override", tls_name)] if tls_name else []
    return grpc.secure_channel(address, tls.credentials(), options)


def main() -> int:
    """Ask once; 0 for serving, 1 for anything else."""
    parser = argparse.ArgumentParser(prog="python -m services.common.probe", description="Ask a server's gRPC health.")
    parser.add_argument("address", help="host:port")
    parser.add_argument("--tls-ca", type=Path, help="PEM CA; without it the call is not encrypted")
    parser.add_argument("--tls-cert", type=Path, help="PEM certificate to show, where the server asks for one")
    parser.add_argument("--tls-key", type=Path, help="PEM private key of it")
    parser.add_argument("--tls-name", help="name in the certificate, where it is not the address's")
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds (default: %(default)s)")
    given = parser.parse_args()
    tls = ClientTls(given.tls_ca, given.tls_cert, given.tls_key) if given.tls_ca else None
    serving = is_serving(given.address, tls=tls, tls_name=given.tls_name, timeout=given.timeout)
    return 0 if serving else 1


if __name__ == "__main__":
    sys.exit(main())
