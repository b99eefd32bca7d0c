"""Every test module declares its tier, so that each tier can be run alone."""

import pytest

TIERS = {"unit", "integration", "e2e", "deploy"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    untiered = {item.nodeid.split("::")[0] for item in items if not TIERS & {m.name for m in item.iter_markers()}}
    if untiered:
        raise pytest.UsageError(f"these modules declare no tier ({', '.join(sorted(TIERS))}): {sorted(untiered)}")
