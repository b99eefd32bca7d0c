"""Questions about windows, and many answers made one."""

from collections.abc import AsyncGenerator

import pytest

from auricle.v1 import audio_pb2, decoder_pb2, generation_pb2
from services.common.errors import Internal
from services.pipeline.asking import Asker, grouped, is_silent, supporting, supports

pytestmark = pytest.mark.unit


class Decoder:
    """Answers with what it was asked, in two pieces; without `ends` the stream breaks off."""

    def __init__(self, *, ends: bool = True) -> None:
        self.requests: list[decoder_pb2.GenerateRequest] = []
        self._ends = ends

    async def generate(
        self, request: decoder_pb2.GenerateRequest
    ) -> AsyncGenerator[decoder_pb2.GenerateResponse, None]:
        self.requests.append(request)
        yield decoder_pb2.GenerateResponse(text_delta=f" {len(self.requests)}:")
        yield decoder_pb2.GenerateResponse(text_delta=request.messages[0].parts[-1].text[-6:] + " ")
        if self._ends:
            yield decoder_pb2.GenerateResponse(completion=decoder_pb2.Completion(output_tokens=7))


def asker(decoder: Decoder, *, is_bulk: bool = True) -> Asker:
    config = generation_pb2.GenerationConfig(max_output_tokens=9)
    return Asker(decoder, config, is_bulk=is_bulk)  # type: ignore[arg-type]


async def test_a_window_is_asked_with_its_embeddings_before_the_question() -> None:
    decoder = Decoder()
    one = asker(decoder)
    embeddings = audio_pb2.Tensor(shape=[3, 8])
    assert await one.ask("Who is it?", embeddings) == "1:is it?"
    (request,) = decoder.requests
    audio, text = request.messages[0].parts
    assert list(audio.audio.windows) == [embeddings]
    assert text.text == "Who is it?"
    assert request.config.max_output_tokens == 9
    assert one.output_tokens == 7


@pytest.mark.parametrize(
    ("is_bulk", "priority"),
    [(True, decoder_pb2.DECODER_PRIORITY_BULK), (False, decoder_pb2.DECODER_PRIORITY_INTERACTIVE)],
)
async def test_the_decoder_is_told_whether_somebody_waits(is_bulk: bool, priority: int) -> None:
    decoder = Decoder()
    await asker(decoder, is_bulk=is_bulk).ask("Why?")
    assert decoder.requests[0].priority == priority


async def test_an_answer_that_breaks_off_is_none() -> None:
    with pytest.raises(Internal):
        await asker(Decoder(ends=False)).ask("Why?")


async def test_answers_are_combined_in_a_tree_that_fits_the_context() -> None:
    decoder = Decoder()
    # 1536 tokens are kept for instruction and answer: 100 characters are left for answers.
    text = await asker(decoder).combine("Why?", ["x" * 40] * 5, context_tokens=1536 + 50)
    prompts = [request.messages[0].parts[0].text for request in decoder.requests]
    assert [prompt.count("x" * 40) for prompt in prompts] == [2, 2, 1]
    assert "1. 1:Why?" not in prompts[0]
    assert text == "3:: Why?"


async def test_one_answer_needs_no_combining_and_none_is_empty() -> None:
    decoder = Decoder()
    assert await asker(decoder).combine("Why?", ["Because."], context_tokens=2048) == "Because."
    assert await asker(decoder).combine("Why?", [], context_tokens=2048) == ""
    assert decoder.requests == []


def test_groups_fit_the_room_but_hold_at_least_two_so_that_the_tree_ends() -> None:
    assert grouped(["aa", "bb", "cc", "dd", "ee"], 4) == [["aa", "bb"], ["cc", "dd"], ["ee"]]
    assert grouped(["a" * 99, "b" * 99, "c"], 4) == [["a" * 99, "b" * 99], ["c"]]
    assert grouped(["a", "b", "c"], 100) == [["a", "b", "c"]]


@pytest.mark.parametrize("answer", ["", "No.", "no", "None", "N/A", "Nothing is said.", "No, there is no dog here."])
def test_an_answer_that_says_no_supports_nothing(answer: str) -> None:
    assert not supports(answer)


@pytest.mark.parametrize(
    "answer", ["Yes.", "Nobody but a dog.", "Not a cat, a dog.", "No cat is heard, but a dog barks twice at the door."]
)
def test_an_answer_that_says_something_supports(answer: str) -> None:
    assert supports(answer)


def test_what_supports_is_combined_and_a_no_only_when_there_is_nothing_else() -> None:
    assert supporting(["No.", "A dog.", "", "Two dogs."]) == ["A dog.", "Two dogs."]
    assert supporting(["", "No.", "None."]) == ["No."]
    assert supporting([]) == []


@pytest.mark.parametrize(
    ("rms_dbfs", "speech_ratio", "silent"), [(-90.0, 0.0, True), (-90.0, 0.1, False), (-40.0, 0.0, False)]
)
def test_silence_is_quiet_and_without_speech(rms_dbfs: float, speech_ratio: float, silent: bool) -> None:
    assert is_silent(audio_pb2.AudioWindow(rms_dbfs=rms_dbfs, speech_ratio=speech_ratio)) is silent
