"""Every test module declares its tier, so that each tier can be run alone."""

import os

import pytest

# torch's threads spin while they wait, which starves the servers that a test talks to; read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Tests start processes while their calls are under way. gRPC's own handlers of fork stop its threads for that moment; a
# call was seen to be forgotten by it, deadline and all. The new processes begin another program and need none of it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

TIERS = {"unit", "integration", "e2e", "deploy"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    untiered = {item.nodeid.split("::")[0] for item in items if not TIERS & {m.name for m in item.iter_markers()}}
    if untiered:
        raise pytest.UsageError(f"these modules declare no tier ({', '.join(sorted(TIERS))}): {sorted(untiered)}")
