"""The version of the SDK, written once; pyproject.toml reads it here."""

__version__ = "0.1.0"
