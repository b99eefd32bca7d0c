"""What is known of an uploaded recording, and how it is written beside its bytes."""

import json
import re
import uuid
from dataclasses import dataclass
from datetime import datetime

from google.protobuf import json_format

from auricle.v1 import audio_pb2

ROOT = "audios"
_NAME = re.compile(rf"{ROOT}/[0-9a-f]{{32}}")


def new_name() -> str:
    """A name that nobody can guess."""
    return f"{ROOT}/{uuid.uuid4().hex}"


def is_name(name: str) -> bool:
    """Whether the name could be one of ours."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class StoredAudio:
    """An uploaded recording.

    Attributes:
        name: "audios/{audio}", where {audio} is a random UUID in 32 hex digits.
        sha256_hex: of its bytes.
        raw_pcm: describes headerless samples; None for a file.
        expire_time: when it is gone, in UTC.
    """

    name: str
    size_bytes: int
    sha256_hex: str
    raw_pcm: audio_pb2.RawPcm | None
    expire_time: datetime

    def description(self) -> bytes:
        """All but the name, as JSON."""
        fields = {
            "size_bytes": self.size_bytes,
            "sha256": self.sha256_hex,
            "raw_pcm": json_format.MessageToDict(self.raw_pcm) if self.raw_pcm else None,
            "expire_time": self.expire_time.isoformat(),
        }
        return json.dumps(fields).encode()

    @classmethod
    def described(cls, name: str, description: bytes) -> "StoredAudio":
        """The recording of that name, from its description."""
        fields = json.loads(description)
        raw_pcm = json_format.ParseDict(fields["raw_pcm"], audio_pb2.RawPcm()) if fields["raw_pcm"] else None
        expire_time = datetime.fromisoformat(fields["expire_time"])
        return cls(name, fields["size_bytes"], fields["sha256"], raw_pcm, expire_time)
