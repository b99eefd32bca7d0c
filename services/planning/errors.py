"""What a planner's user can put right."""


class PlanningError(Exception):
    """A scenario, profile or values file that cannot be used, or a load that cannot be planned for; says which part."""
