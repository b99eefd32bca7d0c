"""When work must stop."""


class LeaseLost(Exception):
    """The job has ended, or another worker has the unit."""
