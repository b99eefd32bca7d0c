"""Tests of the whole repository."""

import os

# Tests start and restart processes while their own threads use gRPC. A process runs gRPC's fork handlers before it
# becomes another program, and may hang in them for ever. Read when gRPC is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
