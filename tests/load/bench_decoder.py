"""Decoding speed of the engine beside its peers, on the same weights, prompts and threads.

    python -m tests.load.bench_decoder

Every side has processes of its own; they take turns, round by round in another order, so that whatever else the
machine does meets all of them. Beside the time on the clock, the CPU time of each side's processes is taken: with one
thread that is what a core of its own would take, however busy the machine is.

Prompts are questions of one length that differ from their first words on, so nothing is cached, and every answer has
the same number of tokens; a run is timed from the first prompt to the last token. Ratios are taken within a round;
their median is told, and the smallest and largest of all rounds.

The first token is that of a question about a 5 s clip, and of another question about the same clip, whose prompt
differs in its last words only. `make peers` builds the environments of vLLM and llama.cpp.
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from services.decoder.build import load_tokenizer
from services.qwen2_audio.export import export_decoder
from services.qwen2_audio.prompt import AudioSlot, Message, PromptBuilder
from services.qwen2_audio.resolve import resolve_checkpoint
from services.qwen2_audio.weights import Checkpoint
from tests.load import figures
from tests.load.peers.gguf_file import PRECISIONS, write_gguf
from tests.load.peers.side import Side, sides_of

SIDES = (
    *("engine fp32", "engine fp16", "engine int8", "transformers fp32", "vllm fp32", "vllm bf16"),
    *("llama.cpp f32", "llama.cpp f16", "llama.cpp q8_0"),
)
# Whose ratio says something: our precision to the peer's equal one.
RIVALS = {
    "engine fp32": ("transformers fp32", "vllm fp32", "llama.cpp f32"),
    "engine fp16": ("vllm bf16", "llama.cpp f16"),
    "engine int8": ("transformers fp32", "vllm fp32", "llama.cpp q8_0"),
}
CLIP_TOKENS = 125  # 5 s
QUESTIONS = ("Transcribe the speech.", "What sound is this?")
PLACES = ("street", "river", "market", "forest", "castle", "harbour", "village", "garden", "mountain", "library")

Rounds = list[dict[str, dict[str, float]]]


def prompts_of(builder: PromptBuilder, count: int) -> list[list[int]]:
    """Questions of one length that share no block."""
    made: dict[int, list[list[int]]] = {}
    for number in range(1000):
        first, second = PLACES[number % len(PLACES)], PLACES[number // len(PLACES) % len(PLACES)]
        messages = [
            Message("system", [f"{first.title()} and {second}, you know them all and tell of them with pleasure."]),
            Message(
                "user", [f"Tell me a long story about a {first} and a {second} in the rain, and of who lives there."]
            ),
        ]
        token_ids = list(builder.build(messages).token_ids)
        made.setdefault(len(token_ids), []).append(token_ids)
        if len(made[len(token_ids)]) == count:
            return made[len(token_ids)]
    raise ValueError(f"there are no {count} questions of one length")


def decode(sides: list[Side], prompts: list[list[int]], tokens: int, rounds: int) -> tuple[Rounds, dict[str, Any]]:
    """Seconds of each side in each round, and the last answers of each."""
    measured: Rounds = []
    answers: dict[str, Any] = {}
    for number in range(-1, rounds):
        row = {}
        for side in figures.turn(sides, number):
            told = side.ask(op="decode", prompts=prompts, tokens=tokens if number >= 0 else 4)
            answers[side.name] = told.pop("answers")
            row[side.name] = told
        if number >= 0:  # the first round only warms up
            measured.append(row)
    return measured, answers


def ask(sides: list[Side], builder: PromptBuilder, table: np.ndarray, tokens: int, rounds: int) -> list[dict[str, Any]]:
    """Seconds of the first and the second question about one clip, for each side in each round."""
    measured = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(-1, rounds):
            clip = np.random.default_rng(number + 1).standard_normal((CLIP_TOKENS, table.shape[1])).astype(np.float32)
            row: dict[str, Any] = {}
            for side in figures.turn(sides, number):
                for ordinal, question in zip(("first", "second"), QUESTIONS, strict=True):
                    prompt = builder.build([Message("user", [AudioSlot((CLIP_TOKENS,)), question])])
                    ((start, _),) = prompt.audio_spans
                    rows = table[list(prompt.token_ids)]
                    rows[start : start + CLIP_TOKENS] = clip
                    np.save(file := Path(scratch) / "prompt.npy", rows)
                    told = side.ask(
                        op="ask",
                        token_ids=list(prompt.token_ids),
                        start=start,
                        audio_tokens=CLIP_TOKENS,
                        embeddings=str(file),
                        tokens=tokens,
                    )
                    row[f"{side.name} {ordinal}"] = told
            if number >= 0:
                measured.append(row)
    return measured


def table_of(batch: int, tokens: int, rounds: Rounds, answers: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each side: its speed, and how many times as fast as its rivals it is."""
    reference = answers.get("transformers fp32")
    rows = []
    for name in rounds[0]:
        row: dict[str, Any] = {"batch": batch, "side": name}
        for clock, unit in (("cpu_seconds", "cpu_second"), ("seconds", "second")):
            speed = batch * tokens / statistics.median(each[name][clock] for each in rounds)
            row[f"tokens_per_{unit}"] = round(speed, 1)
            for rival in RIVALS.get(name, ()):
                if rival in rounds[0]:
                    times = [each[rival][clock] / each[name][clock] for each in rounds]
                    row[f"times {rival}, {clock}"] = figures.ratio(times)
        if reference is not None:
            row["answers_as_transformers"] = f"{sum(map(list.__eq__, answers[name], reference))}/{batch}"
        rows.append(row)
    return rows


def asked_table(rounds: list[dict[str, Any]], sides: list[Side]) -> list[dict[str, Any]]:
    """One row for each side: what the second question takes of the first, and the whole first answer beside ours."""
    rows = []
    for side in sides:
        first, second = ([each[f"{side.name} {ordinal}"] for each in rounds] for ordinal in ("first", "second"))
        ours = [each[f"{sides[0].name} first"] for each in rounds]
        row: dict[str, Any] = {"side": side.name}
        for name, asked in (("first", first), ("second", second)):
            milliseconds = 1000 * statistics.median(each["first_token_seconds"] for each in asked)
            row[f"{name}_question_first_token_ms"] = round(milliseconds, 1)
        pairs = list(zip(first, second, strict=True))
        row["second_to_first"] = figures.ratio([b["first_token_seconds"] / a["first_token_seconds"] for a, b in pairs])
        for clock in ("cpu_seconds", "seconds"):
            row[f"answer_{clock}"] = round(statistics.median(each[clock] for each in first), 3)
            shares = [a[clock] / b[clock] for a, b in zip(ours, first, strict=True)]
            row[f"{sides[0].name} takes of its {clock}"] = figures.ratio(shares)
        rows.append(row)
    return rows


def main() -> None:
    """Measure, print, and with --json write figures, raw data and a plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="auricle-mini")
    parser.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--tokens", type=int, default=48, help="of each answer")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="requests together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", default=list(SIDES[:3] + SIDES[3:4]), help=f"of: {', '.join(SIDES)}")
    parser.add_argument("--peers", action="store_true", help="all sides")
    parser.add_argument("--vllm-eager", action="store_true", help="vLLM without torch.compile")
    parser.add_argument("--json", type=Path, help="file for figures and raw data; a plot comes beside it")
    given = parser.parse_args()
    checkpoint = Checkpoint(resolve_checkpoint(given.checkpoint))
    cache = Path("~/.cache/auricle/plain").expanduser()
    plain = export_decoder(checkpoint, cache)
    names = list(SIDES) if given.peers else given.sides
    ggufs = {
        precision: write_gguf(plain, cache / f"{plain.name}-{precision}.gguf", precision)
        for precision in PRECISIONS
        if f"llama.cpp {precision}" in names
    }
    sides = sides_of(names, checkpoint.path, plain, ggufs, ["--eager"] if given.vllm_eager else [])
    builder = PromptBuilder(load_tokenizer(checkpoint), checkpoint.config)
    table = checkpoint.text_tensors()["model.embed_tokens.weight"].float().numpy()
    result: dict[str, Any] = {"threads": given.threads, "tokens": given.tokens, "rounds": {}, "decode": []}
    with figures.running(sides, given.threads) as running:
        result["start_seconds"] = {side.name: round(side.start_seconds, 1) for side in running}
        for batch in given.batches:
            rounds, answers = decode(running, prompts_of(builder, batch), given.tokens, given.rounds)
            result["rounds"][str(batch)] = rounds
            for row in table_of(batch, given.tokens, rounds, answers):
                print(json.dumps(row), flush=True)
                result["decode"].append(row)
            # What was measured so far, should the rest be cut short.
            figures.write(result, given.json)
        # transformers would compute the prompt twice to time its first token.
        hearing = [side for side in running if side.module != "transformers_generate"]
        result["ask_rounds"] = ask(hearing, builder, table, given.tokens, given.rounds)
        result["ask"] = asked_table(result["ask_rounds"], hearing)
        for row in result["ask"]:
            print(json.dumps(row), flush=True)
        figures.write(result, given.json)


if __name__ == "__main__":
    main()
