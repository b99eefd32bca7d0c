"""Prometheus metrics of the path."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)

STAGE_SECONDS = Histogram(
    "auricle_stage_seconds", "Wall time of a request in each service.", ["service"], buckets=_SECONDS
)
FIRST_TOKEN_SECONDS = Histogram(
    "auricle_first_token_seconds", "Time from a request's arrival to its first text.", buckets=_SECONDS
)
AUDIO_SECONDS = Counter("auricle_audio_heard_seconds_total", "Seconds of audio given to the model.")
TOKENS = Counter("auricle_tokens_total", "Tokens by kind: prompt, audio, cached, output.", ["kind"])

CACHE_LOOKUPS = Counter(
    "auricle_embedding_cache_lookups_total", "Lookups by result: hit, miss, corrupt, error, skipped.", ["result"]
)
CACHE_WRITES = Counter(
    "auricle_embedding_cache_writes_total",
    "Writes by result: stored, touched, too_large, dropped, error, skipped.",
    ["result"],
)
CACHE_BYTES = Gauge("auricle_embedding_cache_bytes", "Bytes of values in the cache after the last write.")

CHATS = Counter("auricle_chats_total", "Chats by the track whose model answers: stable, canary.", ["track"])
CANARY_PASSED_OVER = Counter(
    "auricle_canary_passed_over_total", "Chats of the canary's share that the stable model answers: it was not whole."
)

REPLICAS = Gauge("auricle_replicas", "Replicas of a service that are named now.", ["service"])
PASSED_OVER = Counter(
    "auricle_replica_passed_over_total",
    "Calls that a replica did not answer, by its reason; where there is another replica it was asked next.",
    ["service", "reason"],
)
