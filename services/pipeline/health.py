"""A service's own word on whether it is well."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.errors import Unavailable, from_rpc_error

CHECK_TIMEOUT_SECONDS = 1.0


async def check_health(channel: grpc.aio.Channel, service: str) -> str:
    """Ask the service's gRPC health; returns what to tell people.

    Raises:
        Unavailable: it is starting, draining, or not there.
        AuricleError: what it answered.
    """
    try:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=CHECK_TIMEOUT_SECONDS
        )
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error, service) from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise Unavailable(f"{service} is starting or draining")
    return "serving"
