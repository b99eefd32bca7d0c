"""Questions about single windows to the decoder, and answers about many windows combined into one."""

import re
from collections.abc import Sequence
from contextlib import aclosing

from auricle.v1 import audio_pb2, decoder_pb2, generation_pb2
from services.common.errors import Internal
from services.pipeline.fleets import DecoderFleet

# A window as quiet as this, in which no speech was found, holds nothing to be told.
SILENCE_DBFS = -60.0
# At least two characters make a token of any usual text, so what fits by this measure fits.
_CHARS_PER_TOKEN = 2
_TOKENS_FOR_INSTRUCTION_AND_ANSWER = 1536
_NEGATIVE = re.compile(r"(no|none|nothing|not mentioned|unknown|n/?a)\b", re.IGNORECASE)
_MOST_WORDS_OF_A_NO = 8


class Asker:
    """Asks the decoder, and counts what it generates.

    Args:
        decoder: whom.
        config: how text is decoded.
        is_bulk: nobody waits for the answers.

    Attributes:
        output_tokens: tokens generated so far.
    """

    def __init__(self, decoder: DecoderFleet, config: generation_pb2.GenerationConfig, *, is_bulk: bool) -> None:
        self._decoder = decoder
        self._config = config
        bulk, interactive = decoder_pb2.DECODER_PRIORITY_BULK, decoder_pb2.DECODER_PRIORITY_INTERACTIVE
        self._priority = bulk if is_bulk else interactive
        self.output_tokens = 0

    async def ask(self, question: str, embeddings: audio_pb2.Tensor | None = None) -> str:
        """The model's answer.

        Args:
            question: what is asked.
            embeddings: of the audio that it is asked about.

        Raises:
            AuricleError: what the decoder answered.
        """
        request = decoder_pb2.GenerateRequest(config=self._config, priority=self._priority)
        message = request.messages.add(role=generation_pb2.ROLE_USER)
        if embeddings is not None:
            message.parts.add().audio.windows.append(embeddings)
        message.parts.add(text=question)
        texts, completed = [], False
        async with aclosing(self._decoder.generate(request)) as responses:
            async for response in responses:
                texts.append(response.text_delta)
                if response.HasField("completion"):
                    completed = True
                    self.output_tokens += response.completion.output_tokens
        if not completed:
            raise Internal("the decoder ended without a completion")
        return "".join(texts).strip()

    async def combine(self, instruction: str, answers: Sequence[str], context_tokens: int) -> str:
        """One answer from those about consecutive parts of a recording, by the model, in a tree that fits its context.

        Raises:
            InvalidArgument: two answers together do not fit the context.
            AuricleError: what the decoder answered.
        """
        room_chars = max(1, (context_tokens - _TOKENS_FOR_INSTRUCTION_AND_ANSWER) * _CHARS_PER_TOKEN)
        level = list(answers)
        while len(level) > 1:
            groups = grouped(level, room_chars)
            level = [await self._combined(instruction, group) if len(group) > 1 else group[0] for group in groups]
        return level[0] if level else ""

    async def _combined(self, instruction: str, answers: Sequence[str]) -> str:
        numbered = "\n".join(f"{number}. {answer}" for number, answer in enumerate(answers, 1))
        return await self.ask(
            f"These are answers about consecutive parts of one recording:\n{numbered}\n\n"
            f"Combine them into one answer to: {instruction}"
        )


def is_silent(window: audio_pb2.AudioWindow) -> bool:
    """Whether nothing needs to be asked about the window."""
    return window.rms_dbfs <= SILENCE_DBFS and window.speech_ratio == 0


def supports(answer: str) -> bool:
    """Whether a window's answer says something: a short sentence that begins with a no does not."""
    is_no = _NEGATIVE.match(answer) and len(answer.split()) <= _MOST_WORDS_OF_A_NO
    return bool(answer) and not is_no


def supporting(answers: Sequence[str]) -> list[str]:
    """The answers to combine: those that say something, or else one that says no."""
    return [answer for answer in answers if supports(answer)] or [answer for answer in answers if answer][:1]


def grouped(answers: Sequence[str], room_chars: int) -> list[list[str]]:
    """Consecutive answers in groups that fit the room; at least two in each but the last, so that a tree ends."""
    groups: list[list[str]] = []
    used = 0
    for answer in answers:
        if groups and (len(groups[-1]) < 2 or used + len(answer) <= room_chars):
            groups[-1].append(answer)
            used += len(answer)
        else:
            groups.append([answer])
            used = len(answer)
    return groups
