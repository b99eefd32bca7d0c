"""Names that callers choose."""

import uuid


def uuid_hex(text: str) -> str | None:
    """A UUID as 32 hex digits, however it was written; None when the text is none."""
    try:
        return uuid.UUID(text).hex if len(text) in (32, 36) else None
    except ValueError:
        return None
