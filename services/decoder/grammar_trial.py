"""Whether a schema or regex can be worked with, found out in a process of its own.

    python -m services.decoder.grammar_trial json_schema <schema.json

llguidance limits most of its work itself, but not the making of every automaton: some intersections of patterns keep
it busy for minutes. A process can be ended, and the system limits its time and memory.
"""

import json
import resource
import subprocess
import sys
from typing import Any

CPU_SECONDS = 2
MEMORY_BYTES = 2**30
# Beside other work the CPU seconds take longer.
WALL_SECONDS = 20
LIMITS: dict[str, Any] = {
    "initial_lexer_fuel": 1_000_000,
    "step_lexer_fuel": 100_000,
    "step_max_items": 50_000,
    "max_lexer_states": 50_000,
    "max_grammar_size": 100_000,
    "verbose_errors": False,
}
# As models write JSON. Were any white space allowed, a small model would write nothing else.
JSON_STYLE: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_MAX_PROBLEM_CHARS = 300


def source_of(kind: str, text: str) -> str:
    """llguidance's own description of a "json_schema" or "regex".

    Raises:
        ValueError: the schema is not JSON.
    """
    from llguidance import LLMatcher

    if kind == "regex":
        return LLMatcher.grammar_from_regex(text)
    return LLMatcher.grammar_from_json_schema(text, overrides=JSON_STYLE)


class TrialError(Exception):
    """A form takes more time or memory than it may."""


def try_out(kind: str, text: str) -> str:
    """What is wrong with a form, or "".

    Raises:
        TrialError: there is no saying within the limits.
    """
    command = [sys.executable, "-m", "services.decoder.grammar_trial", kind]
    try:
        ended = subprocess.run(command, input=text, text=True, capture_output=True, timeout=WALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise TrialError(f"it takes more than {WALL_SECONDS} s to prepare") from None
    if ended.returncode:
        raise TrialError(f"it takes more than {CPU_SECONDS} s or {MEMORY_BYTES // 2**20} MiB to prepare")
    return json.loads(ended.stdout)


def problem_of(kind: str, text: str) -> str:
    """What is wrong with a form; it is built, and the first step of an answer taken."""
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

    vocabulary = LLTokenizer(TokenizerWrapper(_Bytes()), eos_token=[_Bytes.eos_token_id])
    try:
        matcher = LLMatcher(vocabulary, source_of(kind, text), log_level=0, limits=LLParserLimits(**LIMITS))
    except ValueError as error:
        return str(error)
    if not matcher.is_error():
        matcher.compute_bitmask()
        if matcher.is_error():
            return "nothing satisfies it"
    return str(matcher.get_error())


class _Bytes:
    """A tokenizer whose tokens are the bytes; what a form allows does not depend on the tokenizer."""

    eos_token_id = 256
    bos_token_id = None
    tokens = (*(bytes([value]) for value in range(256)), b"")
    special_token_ids = (256,)

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


def main() -> None:
    """Print the problem of what comes on standard input, as JSON."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    print(json.dumps(problem_of(sys.argv[1], sys.stdin.read())[:_MAX_PROBLEM_CHARS]))


if __name__ == "__main__":
    main()
