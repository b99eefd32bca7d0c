"""Decoding speed of the engine beside its peers, on the same weights, prompts and threads.

    python -m tests.load.bench_decoder

Every side is a process of its own; they take turns, round by round in another order, so that whatever else the machine
does meets all of them. Prompts are questions of one length that differ from their first words on, so nothing is cached,
and every answer has the same number of tokens; a run is timed from the first prompt to the last token. Ratios are taken
within a round; their median is told, and the smallest and largest of all rounds.

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

Rounds = list[dict[str, float]]


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
    """Tokens a second of each side in each round, and the last answers of each."""
    measured: Rounds = []
    answers: dict[str, Any] = {}
    for number in range(-1, rounds):
        speeds = {}
        for side in figures.turn(sides, number):
            told = side.ask(op="decode", prompts=prompts, tokens=tokens if number >= 0 else 4)
            speeds[side.name] = len(prompts) * tokens / told["seconds"]
            answers[side.name] = told["answers"]
        if number >= 0:  # the first round only warms up
            measured.append(speeds)
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


def table_of(batch: int, rounds: Rounds, answers: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each side: its speed, and our ratios to it."""
    reference = answers.get("transformers fp32")
    rows = []
    for name in rounds[0]:
        row: dict[str, Any] = {
            "batch": batch,
            "side": name,
            "tokens_per_second": round(statistics.median(each[name] for each in rounds), 1),
        }
        for rival in RIVALS.get(name, ()):
            if rival in rounds[0]:
                row[f"times {rival}"] = figures.ratio([each[name] / each[rival] for each in rounds])
        if reference is not None:
            row["answers_as_transformers"] = f"{sum(map(list.__eq__, answers[name], reference))}/{batch}"
        rows.append(row)
    return rows


def asked_table(rounds: list[dict[str, Any]], sides: list[Side]) -> list[dict[str, Any]]:
    """One row for each side: first tokens of both questions, their ratio, and the whole first answer."""
    rows = []
    for side in sides:
        first = [each[f"{side.name} first"]["first_token_seconds"] for each in rounds]
        second = [each[f"{side.name} second"]["first_token_seconds"] for each in rounds]
        whole = [each[f"{side.name} first"]["seconds"] for each in rounds]
        ours = [each[f"{sides[0].name} first"]["seconds"] for each in rounds]
        rows.append(
            {
                "side": side.name,
                "first_question_first_token_ms": round(1000 * statistics.median(first), 1),
                "second_question_first_token_ms": round(1000 * statistics.median(second), 1),
                "second_to_first": figures.ratio([b / a for a, b in zip(first, second, strict=True)]),
                "first_answer_ms": round(1000 * statistics.median(whole), 1),
                f"{sides[0].name} takes": figures.ratio([a / b for a, b in zip(ours, whole, strict=True)]),
            }
        )
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
    sides = sides_of(names, checkpoint.path, plain, ggufs)
    builder = PromptBuilder(load_tokenizer(checkpoint), checkpoint.config)
    table = checkpoint.text_tensors()["model.embed_tokens.weight"].float().numpy()
    result: dict[str, Any] = {"threads": given.threads, "tokens": given.tokens, "rounds": {}, "decode": []}
    with figures.running(sides, given.threads) as running:
        result["start_seconds"] = {side.name: round(side.start_seconds, 1) for side in running}
        for batch in given.batches:
            rounds, answers = decode(running, prompts_of(builder, batch), given.tokens, given.rounds)
            result["rounds"][str(batch)] = rounds
            for row in table_of(batch, rounds, answers):
                print(json.dumps(row), flush=True)
                result["decode"].append(row)
        result["ask_rounds"] = ask(running, builder, table, given.tokens, given.rounds)
        result["ask"] = asked_table(result["ask_rounds"], running)
        for row in result["ask"]:
            print(json.dumps(row), flush=True)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=2))
        figures.plot_speeds(result["decode"], given.threads, given.json.with_suffix(".svg"))


if __name__ == "__main__":
    main()
