"""The limits of a conversation and of its GenerationConfig, and the defaults of what a caller leaves out.

The public and the internal request obey the same limits, so both ends check them with these functions. Every mistake
of a request is found before it is refused: the caller gets one BadRequest that names them all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from auricle.v1 import generation_pb2
from services.common.errors import FieldViolation, InvalidArgument

MAX_MESSAGES = 256
MAX_PARTS = 256  # of one message
MAX_TEXT_BYTES = 64 * 2**10  # of one part, as UTF-8
MAX_CONVERSATION_BYTES = 2**20  # of text in all messages; far beyond any context, and quick to tokenize
MAX_OUTPUT_TOKENS = 4096
DEFAULT_OUTPUT_TOKENS = 256
MAX_TEMPERATURE = 2.0
MAX_TOP_K = 1000
MAX_REPETITION_PENALTY = 2.0
MAX_STOP_STRINGS = 8
MAX_STOP_CHARS = 200
MAX_AUDIO_CONTRAST = 4.0
MAX_SCHEMA_BYTES = 2**14
MAX_REGEX_BYTES = 1000
# More are not listed: error details travel in trailers, which are small.
MAX_LISTED_VIOLATIONS = 16

_ROLES = (generation_pb2.ROLE_SYSTEM, generation_pb2.ROLE_USER, generation_pb2.ROLE_ASSISTANT)


@dataclass(frozen=True)
class GenerationParams:
    """A GenerationConfig with every default filled in; `generation.proto` says what the fields mean.

    Attributes:
        temperature: 0 decodes greedily.
        top_k: 0 means all tokens.
        seed: None lets every request draw its own.
        audio_contrast: 0 decodes plainly.
        json_schema, regex: what the answer must be; one of them at most.
    """

    max_output_tokens: int = DEFAULT_OUTPUT_TOKENS
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    audio_contrast: float = 0.0
    json_schema: str | None = None
    regex: str | None = None

    def with_at_most(self, output_tokens: int) -> "GenerationParams":
        """The same, with no more output tokens than that."""
        return replace(self, max_output_tokens=min(self.max_output_tokens, output_tokens))


def params_of(config: generation_pb2.GenerationConfig) -> GenerationParams:
    """The config with defaults filled in; it must have passed `config_violations`."""
    given = {field.name: value for field, value in config.ListFields()}
    stop = tuple(given.pop("stop", ()))
    # ListFields leaves nothing out that was set: every scalar of the message is `optional`.
    return GenerationParams(**given, stop=stop)


def check_request(messages: Sequence[Any], parts_field: str, config: generation_pb2.GenerationConfig) -> None:
    """Refuse a request that breaks a limit.

    Args:
        messages: DecoderMessage or Message.
        parts_field: what they call their pieces: "parts" or "content".
        config: how the caller wants to decode.

    Raises:
        InvalidArgument: with one violation for each mistake.
    """
    refuse([*message_violations(messages, parts_field), *config_violations(config)])


def refuse(violations: Sequence[FieldViolation]) -> None:
    """Raise InvalidArgument with all the violations, if there are any."""
    if not violations:
        return
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    raise InvalidArgument(f"{first.field}: {first.description}{more}", violations=violations[:MAX_LISTED_VIOLATIONS])


def config_violations(config: generation_pb2.GenerationConfig, field: str = "config") -> list[FieldViolation]:
    """What is out of range in a GenerationConfig; `field` is its own name in the request."""
    found = [FieldViolation(f"{field}.{name}", problem) for name, problem in _scalar_problems(config)]
    if len(config.stop) > MAX_STOP_STRINGS:
        found.append(FieldViolation(f"{field}.stop", f"at most {MAX_STOP_STRINGS} strings, {len(config.stop)} came"))
    for index, stop in enumerate(config.stop[:MAX_STOP_STRINGS]):
        if not 1 <= len(stop) <= MAX_STOP_CHARS:
            problem = f"must have 1 to {MAX_STOP_CHARS} characters, has {len(stop)}"
            found.append(FieldViolation(f"{field}.stop[{index}]", problem))
    found += [FieldViolation(f"{field}.{name}", problem) for name, problem in _form_problems(config)]
    return found


def _form_problems(config: generation_pb2.GenerationConfig) -> Iterator[tuple[str, str]]:
    """What is wrong with the answer's form as such; whether anything satisfies it is for the decoder to say."""
    for name, limit in (("json_schema", MAX_SCHEMA_BYTES), ("regex", MAX_REGEX_BYTES)):
        size = len(getattr(config, name).encode())
        if config.HasField(name) and not 1 <= size <= limit:
            yield name, f"must have 1 to {limit} bytes, has {size}"
    if config.HasField("json_schema") and config.HasField("regex"):
        yield "regex", "cannot go with json_schema"


def _scalar_problems(config: generation_pb2.GenerationConfig) -> Iterator[tuple[str, str]]:
    """Name and problem of each scalar out of range. Comparisons are written so that NaN fails them."""
    params = params_of(config)
    if not 1 <= params.max_output_tokens <= MAX_OUTPUT_TOKENS:
        yield "max_output_tokens", f"must be 1 to {MAX_OUTPUT_TOKENS}, is {params.max_output_tokens}"
    if not 0 <= params.temperature <= MAX_TEMPERATURE:
        yield "temperature", f"must be 0 to {MAX_TEMPERATURE:g}, is {params.temperature:g}"
    if not 0 < params.top_p <= 1:
        yield "top_p", f"must be above 0 and at most 1, is {params.top_p:g}"
    if not 0 <= params.top_k <= MAX_TOP_K:
        yield "top_k", f"must be 0 to {MAX_TOP_K}, is {params.top_k}"
    if not 1 <= params.repetition_penalty <= MAX_REPETITION_PENALTY:
        yield "repetition_penalty", f"must be 1 to {MAX_REPETITION_PENALTY:g}, is {params.repetition_penalty:g}"
    if not 0 <= params.audio_contrast <= MAX_AUDIO_CONTRAST:
        yield "audio_contrast", f"must be 0 to {MAX_AUDIO_CONTRAST:g}, is {params.audio_contrast:g}"


def message_violations(messages: Sequence[Any], parts_field: str) -> list[FieldViolation]:
    """What is wrong with a conversation: its length, its roles, its parts."""
    if not 1 <= len(messages) <= MAX_MESSAGES:
        return [FieldViolation("messages", f"must be 1 to {MAX_MESSAGES} messages, {len(messages)} came")]
    found: list[FieldViolation] = []
    text_bytes = 0
    for index, message in enumerate(messages):
        parts = getattr(message, parts_field)
        text_bytes += sum(len(part.text.encode()) for part in parts)
        found += _role_violations(index, message.role)
        found += _part_violations(f"messages[{index}].{parts_field}", parts, message.role)
    if messages[-1].role != generation_pb2.ROLE_USER:
        found.append(FieldViolation(f"messages[{len(messages) - 1}].role", "the last message must be a user's"))
    if text_bytes > MAX_CONVERSATION_BYTES:
        problem = f"at most {MAX_CONVERSATION_BYTES} bytes of text in all, {text_bytes} came"
        found.append(FieldViolation("messages", problem))
    return found


def _role_violations(index: int, role: int) -> Iterator[FieldViolation]:
    field = f"messages[{index}].role"
    if role not in _ROLES:
        yield FieldViolation(field, "must be ROLE_SYSTEM, ROLE_USER or ROLE_ASSISTANT")
    if role == generation_pb2.ROLE_SYSTEM and index > 0:
        yield FieldViolation(field, "a system message may only be the first")


def _part_violations(field: str, parts: Sequence[Any], role: int) -> Iterator[FieldViolation]:
    if not 1 <= len(parts) <= MAX_PARTS:
        yield FieldViolation(field, f"must be 1 to {MAX_PARTS} parts, {len(parts)} came")
        return
    for index, part in enumerate(parts):
        kind = part.WhichOneof("part")
        if kind is None:
            yield FieldViolation(f"{field}[{index}]", "must be text or audio")
        elif kind == "audio" and role != generation_pb2.ROLE_USER:
            yield FieldViolation(f"{field}[{index}].audio", "audio may only stand in a user's message")
        elif kind == "text" and len(part.text.encode()) > MAX_TEXT_BYTES:
            size = len(part.text.encode())
            yield FieldViolation(f"{field}[{index}].text", f"at most {MAX_TEXT_BYTES} bytes of UTF-8, {size} came")
