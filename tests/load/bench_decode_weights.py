"""What each precision of the weights costs and gives: seconds of a decode step, memory, and agreement with fp32.

    python -m tests.load.bench_decode_weights

The peer is transformers' Qwen2ForCausalLM in the same process, on the same weights and threads, the sides taking turns.
Agreement is the share of next tokens that are the likeliest of both, along transformers' own greedy answers to the
questions of the tests; audio stands in them as the checkpoint's encoder hears it.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as services.decoder does; read when torch is loaded
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import psutil
import torch
from torch import Tensor
from transformers import DynamicCache, Qwen2ForCausalLM

from services.decoder.build import load_tokenizer
from services.decoder.conversation import RequestReader
from services.decoder.kv_cache import BlockTable, KVCache
from services.decoder.linear import Weights
from services.decoder.model import Qwen2Model, Span
from services.qwen2_audio.config import text_config
from services.qwen2_audio.prompt import PromptBuilder
from services.qwen2_audio.resolve import resolve_checkpoint
from services.qwen2_audio.weights import Checkpoint, load_audio_encoder
from tests.decoder_client import request_of
from tests.prompts import CONVERSATIONS

PAST_TOKENS = 100
CONTEXT_TOKENS = 2048


def held_mib() -> float:
    """Memory of this process that is no file's."""
    memory = psutil.Process().memory_info()
    return (memory.rss - memory.shared) / 2**20


def prompts(checkpoint: Checkpoint, count: int) -> list[Tensor]:
    """Embeddings `(1, tokens, hidden)` of every n-th conversation of the tests."""
    hidden = text_config(checkpoint.config).hidden_size
    builder = PromptBuilder(load_tokenizer(checkpoint), checkpoint.config)
    reader = RequestReader(builder, hidden_size=hidden, max_window_tokens=750, context_tokens=CONTEXT_TOKENS)
    encoder, table = load_audio_encoder(checkpoint.path), checkpoint.text_tensors()["model.embed_tokens.weight"].float()
    made = []
    for conversation in CONVERSATIONS[:: max(1, len(CONVERSATIONS) // count)][:count]:
        request = reader.read(request_of(conversation.messages, encoder), 0.0, 0.0)
        embeddings = table[torch.tensor(request.token_ids)]
        for span in request.audio:
            embeddings[span.start : span.start + len(span.embeddings)] = torch.tensor(span.embeddings)
        made.append(embeddings[None])
    return made


def new_cache(model: Qwen2Model, tokens: int) -> KVCache:
    """Room for so many tokens."""
    layers = model.config.num_hidden_layers
    return KVCache(layers=layers, heads=model.kv_heads, head_width=model.head_width, capacity_tokens=tokens)


def likeliest(model: Qwen2Model, embeddings: Tensor, rows: int) -> list[int]:
    """The likeliest token after each of the last `rows` embeddings."""
    cache, tokens = new_cache(model, CONTEXT_TOKENS), embeddings.shape[1]
    cache.extend(table := BlockTable(tokens, "cpu"), tokens)
    wanted = list(range(tokens - rows, tokens))
    return model.forward(embeddings[0], [Span(tokens, 0, table)], wanted, cache).argmax(-1).tolist()


def agreement(peer: Any, models: dict[str, Qwen2Model], asked: list[Tensor], tokens: int) -> dict[str, float]:
    """Share of tokens that are the likeliest of a model and of the peer."""
    equal, total = dict.fromkeys(models, 0), 0
    for embeddings in asked:
        answer = peer.generate(inputs_embeds=embeddings, max_new_tokens=tokens, do_sample=False, pad_token_id=0)[0]
        whole = torch.cat((embeddings, peer.get_input_embeddings()(answer[:-1])[None]), 1)
        total += len(answer)
        for name, model in models.items():
            guesses = likeliest(model, whole, len(answer))
            equal[name] += sum(a == b for a, b in zip(answer.tolist(), guesses, strict=True))
    return {name: count / total for name, count in equal.items()}


def our_step(model: Qwen2Model, batch: int) -> Callable[[], Any]:
    """One decode step of a batch behind PAST_TOKENS tokens."""
    cache, spans = new_cache(model, batch * (PAST_TOKENS + 16)), []
    for _ in range(batch):
        cache.extend(table := BlockTable(PAST_TOKENS + 16, "cpu"), PAST_TOKENS + 1)
        spans.append(Span(1, PAST_TOKENS, table))
    rows = model.embed([5] * batch)
    return lambda: model.forward(rows, spans, list(range(batch)), cache).argmax(-1)


def peer_step(peer: Any, batch: int) -> Callable[[], Any]:
    """The same step of transformers; its cache is cut back by the new token each time."""
    cache, ids = DynamicCache(), torch.full((batch, 1), 5)
    peer(input_ids=ids.expand(batch, PAST_TOKENS), past_key_values=cache)

    def step() -> None:
        peer(input_ids=ids, past_key_values=cache).logits[:, -1].argmax(-1)
        cache.crop(-1)

    return step


def best_ms(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The shortest of several rounds, all sides in every round."""
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            best[name] = min(best[name], 1000 * (time.perf_counter() - start))
    return best


@torch.inference_mode()
def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """One row of figures for each side."""
    torch.set_num_threads(given.threads)
    checkpoint = Checkpoint(resolve_checkpoint(given.checkpoint))
    config = text_config(checkpoint.config)
    models, memory = {}, {}
    for weights in Weights:
        before = held_mib()
        tensors = checkpoint.text_tensors()
        models[weights.value] = Qwen2Model(config, tensors, CONTEXT_TOKENS, precision=weights)
        memory[weights.value] = held_mib() - before
    before = held_mib()
    peer = Qwen2ForCausalLM(config).eval()
    peer.load_state_dict(checkpoint.text_tensors())
    memory["transformers"] = held_mib() - before
    rows: dict[str, dict[str, Any]] = {name: {"weights": name, "mib": round(mib)} for name, mib in memory.items()}
    for name, share in agreement(peer, models, prompts(checkpoint, given.prompts), given.tokens).items():
        rows[name]["agreement"] = round(share, 4)
    print(json.dumps(list(rows.values())), flush=True)
    for batch in given.batches:
        steps = {name: our_step(model, batch) for name, model in models.items()}
        for name, ms in best_ms({**steps, "transformers": peer_step(peer, batch)}, given.rounds).items():
            rows[name][f"step_ms_at_{batch}"] = round(ms, 1)
    return list(rows.values())


def main() -> None:
    """Print the figures, and write them as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="auricle-mini")
    parser.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path, help="file for the raw figures")
    given = parser.parse_args()
    rows = measure(given)
    for row in rows:
        print(json.dumps(row))
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
