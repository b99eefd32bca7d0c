"""Words that the service and its zygote have agreed upon."""

FORK = b"fork"
MAX_CONTROL_BYTES = 256
