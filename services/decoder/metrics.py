"""Prometheus metrics of the decoder, under the names that vLLM gave them."""

from prometheus_client import Counter, Gauge, Histogram

from services.decoder.engine import FinishReason

_PREFIX = "auricle_decoder_"

RUNNING = Gauge(f"{_PREFIX}num_requests_running", "Requests that decode now.")
WAITING = Gauge(f"{_PREFIX}num_requests_waiting", "Requests that wait for a place.")
KV_USAGE = Gauge(f"{_PREFIX}kv_cache_usage_perc", "Part of the KV cache that requests hold, 0 to 1.")
FIRST_TOKEN_SECONDS = Histogram(
    f"{_PREFIX}time_to_first_token_seconds",
    "From a request's arrival to its first token.",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 60),
)
TOKEN_SECONDS = Histogram(
    f"{_PREFIX}inter_token_latency_seconds",
    "From one token of a request to its next.",
    buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5),
)
PROMPT_TOKENS = Counter(f"{_PREFIX}prompt_tokens_total", "Prompt tokens of answered requests.")
GENERATED_TOKENS = Counter(f"{_PREFIX}generation_tokens_total", "Tokens generated.")
PREFIX_QUERIES = Counter(f"{_PREFIX}prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.")
PREFIX_HITS = Counter(f"{_PREFIX}prefix_cache_hits_total", "Prompt tokens found in the prefix cache.")
PREEMPTIONS = Counter(f"{_PREFIX}num_preemptions_total", "Requests that gave their place to another for a while.")
SUCCESSES = Counter(f"{_PREFIX}request_success_total", "Answers that came to their end.", ["finish_reason"])


def publish_load(running: int, waiting: int, kv_usage: float) -> None:
    """Set the gauges."""
    RUNNING.set(running)
    WAITING.set(waiting)
    KV_USAGE.set(kv_usage)


def count_prefix(prompt_tokens: int, found_tokens: int) -> None:
    """Count a prompt that was looked up in the prefix cache."""
    PREFIX_QUERIES.inc(prompt_tokens)
    PREFIX_HITS.inc(found_tokens)


def count_first_token(prompt_tokens: int, seconds: float) -> None:
    """Count the first token of an answer, so many seconds after the request's arrival."""
    GENERATED_TOKENS.inc()
    PROMPT_TOKENS.inc(prompt_tokens)
    FIRST_TOKEN_SECONDS.observe(seconds)


def count_next_token(seconds: float) -> None:
    """Count a token that came so many seconds after the one before."""
    GENERATED_TOKENS.inc()
    TOKEN_SECONDS.observe(seconds)


def count_finish(reason: FinishReason) -> None:
    """Count an answer that came to its end."""
    SUCCESSES.labels(reason.value).inc()
