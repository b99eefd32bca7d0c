"""The whole platform on one machine: `auricle up`, and the same thing for tests and benchmarks."""
