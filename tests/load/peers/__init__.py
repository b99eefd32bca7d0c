"""The sides of the decoding benchmark: each in a process and environment of its own, on the same weights."""
