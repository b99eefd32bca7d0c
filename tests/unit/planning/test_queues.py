"""The parts of the simulation against queueing theory."""

import numpy as np
import pytest
from simpy import Environment

from services.planning.chart import Limits
from services.planning.decoding import DecoderReplica
from services.planning.encoding import EncoderReplica
from services.planning.hearing import PreprocessReplica
from services.planning.processor import Processor
from services.planning.profile import DecoderTimes, EncoderTimes, PreprocessTimes

pytestmark = pytest.mark.unit

REQUESTS = 20_000


def exact(spread: float) -> float:
    return 1.0


def arrivals(per_second: float, count: int = REQUESTS) -> np.ndarray:
    return np.random.default_rng(3).exponential(1 / per_second, count).cumsum()


def run(env, times, request):  # type: ignore[no-untyped-def]
    """Mean seconds from arrival to the end of `request`, a process function; those of the warm-up left out."""
    taken = []

    def one(at):  # type: ignore[no-untyped-def]
        yield env.timeout(at)
        yield from request()
        taken.append(env.now - at)

    for at in times:
        env.process(one(at))
    env.run()
    return float(np.mean(taken[len(taken) // 10 :]))


def encoder(env: Environment, times: EncoderTimes, limits: Limits) -> EncoderReplica:
    return EncoderReplica(env, Processor(env), 1, times, limits, exact)


def decoder(env: Environment, times: DecoderTimes, limits: Limits | None = None) -> DecoderReplica:
    return DecoderReplica(env, Processor(env), 1, times, limits or Limits(), exact)


def test_clips_encoded_one_by_one_wait_as_in_an_m_d_1_queue() -> None:
    env, load, service = Environment(), 0.7, 0.1
    triton = encoder(env, EncoderTimes(batch_ms=100), Limits(batch_clips=1, clips_waiting=10**6))

    def request():  # type: ignore[no-untyped-def]
        yield triton.encode(5.0)

    mean = run(env, arrivals(load / service), request)
    assert mean == pytest.approx(service + load * service / (2 * (1 - load)), rel=0.05)


def test_a_shared_processor_takes_as_long_as_processor_sharing_whatever_the_work() -> None:
    env, load, service = Environment(), 0.6, 0.1
    processor = Processor(env, 1)
    works = iter(np.random.default_rng(4).choice([0.02, 0.1, 0.18], REQUESTS))

    def request():  # type: ignore[no-untyped-def]
        yield processor.run(float(next(works))).done

    # M/G/1-PS: service over what is left of the processor, insensitive to the distribution.
    assert run(env, arrivals(load / service), request) == pytest.approx(service / (1 - load), rel=0.05)


def test_recordings_wait_for_places_as_in_an_m_d_c_queue() -> None:
    env, places, service, load = Environment(), 2, 0.1, 0.8
    limits = Limits(recordings=places, recordings_waiting=10**6, recordings_wait_seconds=10**6)
    preprocess = PreprocessReplica(env, Processor(env, places), PreprocessTimes(recording_ms=100), limits, exact)

    def request():  # type: ignore[no-untyped-def]
        assert (yield from preprocess.hear(1.0))

    mean = run(env, arrivals(places * load / service), request)
    # M/M/2 waits for load^2 / (1 - load^2) services; with constant services about half as long (within 5 %, Kimura).
    assert mean - service == pytest.approx(service * load**2 / (1 - load**2) / 2, rel=0.1)


def test_a_recording_that_finds_no_place_in_time_is_refused() -> None:
    env = Environment()
    limits = Limits(recordings=1, recordings_wait_seconds=0.5)
    preprocess = PreprocessReplica(env, Processor(env, 2), PreprocessTimes(recording_ms=1000), limits, exact)
    heard = []

    def request():  # type: ignore[no-untyped-def]
        heard.append(((yield from preprocess.hear(1.0)), env.now))

    for _ in range(2):
        env.process(request())
    env.run()
    assert sorted(heard) == [(False, 0.5), (True, 1.0)]
    assert preprocess.calls == preprocess.busy == 0


def test_clips_that_come_while_a_batch_runs_make_the_next_one() -> None:
    env = Environment()
    triton = encoder(env, EncoderTimes(batch_ms=100, second_ms=10), Limits(batch_clips=4))
    ends: list[float] = []

    def request(at: float):  # type: ignore[no-untyped-def]
        yield env.timeout(at)
        yield triton.encode(1.0)
        ends.append(round(env.now, 6))

    for at in (0.0, 0.01, 0.02, 0.03, 0.04, 0.05):
        env.process(request(at))
    env.run()
    assert ends == [0.11, *[0.25] * 4, 0.36]


def test_a_clip_waits_for_company_no_longer_than_the_delay() -> None:
    env = Environment()
    triton = encoder(env, EncoderTimes(batch_ms=100), Limits(batch_clips=4, batch_delay_us=50_000))
    ends: list[float] = []

    def request(at: float):  # type: ignore[no-untyped-def]
        yield env.timeout(at)
        yield triton.encode(1.0)
        ends.append(round(env.now, 6))

    for at in (0.0, 0.02, 1.0):
        env.process(request(at))
    env.run()
    assert ends == [0.15, 0.15, 1.15]


def test_a_full_queue_refuses_clips() -> None:
    env = Environment()
    triton = encoder(env, EncoderTimes(batch_ms=100), Limits(batch_clips=1, clips_waiting=2))
    assert [triton.encode(1.0) is None for _ in range(4)] == [False, False, False, True]


def test_an_answer_alone_takes_its_prompts_steps_and_one_for_each_token() -> None:
    env = Environment()
    sequence = decoder(env, DecoderTimes(step_ms=10, prompt_token_ms=1)).generate(600, 5, False)
    assert sequence is not None
    env.run(sequence.first)
    assert env.now == pytest.approx(0.63)  # 256 + 256 + 88 prompt tokens
    env.run(sequence.done)
    assert env.now == pytest.approx(0.67)


def test_a_prompt_that_comes_is_computed_from_the_next_step_on() -> None:
    env = Environment()
    engine = decoder(env, DecoderTimes(step_ms=10, prompt_token_ms=1))
    long = engine.generate(10, 100, False)
    assert long is not None
    env.run(0.02 + 0.255)  # in the middle of a step of the long answer
    short = engine.generate(100, 2, False)
    assert short is not None
    env.run(short.first)
    assert env.now == pytest.approx(0.28 + 0.11)
    env.run(short.done)
    assert env.now == pytest.approx(0.40)
    env.run(long.done)
    assert env.now == pytest.approx(0.02 + 99 * 0.01 + 0.1)


def test_no_more_answers_run_than_may() -> None:
    env = Environment()
    engine = decoder(env, DecoderTimes(step_ms=10), Limits(running=2, waiting=1))
    made = [engine.generate(10, 11, False) for _ in range(4)]
    assert made[3] is None
    ends = []
    for sequence in made[:3]:
        assert sequence is not None
        env.run(sequence.done)
        ends.append(env.now)
    assert ends == pytest.approx([0.11, 0.11, 0.22])


def test_bulk_gives_way_to_who_waits_for_an_answer() -> None:
    env = Environment()
    engine = decoder(env, DecoderTimes(step_ms=10), Limits(running=1))
    bulk = engine.generate(10, 50, True)
    env.run(0.105)
    question = engine.generate(10, 5, False)
    assert bulk is not None
    assert question is not None
    env.run(question.done)
    assert not bulk.done.triggered
    env.run(bulk.done)
    assert engine.preemptions == 1
    # The step under way, the question's five, and the bulk's own fifty, its prompt being computed again.
    assert env.now == pytest.approx(0.11 + 0.05 + 0.40, abs=0.011)


def test_bulk_stands_back_while_a_question_is_read_but_not_for_ever() -> None:
    for step_ms, rows_beside_the_prompt in ((10, 0), (800, 1)):
        env = Environment()
        engine = decoder(env, DecoderTimes(step_ms=step_ms), Limits())
        bulk = engine.generate(10, 500, True)
        assert bulk is not None
        env.run(bulk.first)
        question = engine.generate(1000, 5, False)
        assert question is not None
        before = bulk.generated + 1  # the step under way
        env.run(question.first)
        assert bulk.generated == before + rows_beside_the_prompt
        env.run(bulk.done)


def test_who_runs_out_of_blocks_computes_again_later_and_all_end() -> None:
    env = Environment()
    engine = decoder(env, DecoderTimes(step_ms=10), Limits(kv_cache_tokens=10 * 16))
    made = [engine.generate(48, 60, False) for _ in range(2)]
    for sequence in made:
        assert sequence is not None
        env.run(sequence.done)
    assert engine.preemptions >= 1
    assert engine.kv_usage == 0
    assert engine.generate(100, 61, False) is None  # never fits
