"""The composition root of preprocess."""

import grpc

from auricle.v1 import preprocess_pb2, preprocess_pb2_grpc
from services.common.server import Service
from services.preprocess.pool import ChildPool
from services.preprocess.servicer import PreprocessServicer
from services.preprocess.settings import PreprocessSettings


def build(settings: PreprocessSettings, pool: ChildPool | None = None) -> Service:
    """The service; `pool` replaces the real children in tests."""
    children = pool or ChildPool(settings)

    def register(server: grpc.aio.Server) -> None:
        servicer = PreprocessServicer(children, settings)
        preprocess_pb2_grpc.add_PreprocessServiceServicer_to_server(servicer, server)

    return Service(
        name="preprocess",
        full_names=[preprocess_pb2.DESCRIPTOR.services_by_name["PreprocessService"].full_name],
        register=register,
        start=children.start,
        close=children.close,
    )
