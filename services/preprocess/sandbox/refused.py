"""The one exception by which the signal chain refuses a recording."""

from services.preprocess.domain import Reason, Refusal


class AudioRefused(Exception):
    """The recording cannot be heard, for a reason that its sender can act on."""

    def __init__(self, reason: Reason, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.refusal = Refusal(reason, message, {key: str(value) for key, value in metadata.items()})
