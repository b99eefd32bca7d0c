"""Write dashboards/*.json: `python deploy/observability/make_dashboards.py`.

A dashboard is a table of panels (title, unit, queries by legend); the rest is the same for all.
"""

import json
from pathlib import Path
from typing import Any

Panel = tuple[str, str, dict[str, str]]
FOLDER = Path(__file__).parent / "dashboards"
_WIDTH, _HEIGHT, _COLUMNS = 12, 8, 2


def _rate(metric: str, by: str = "") -> str:
    total = f"sum by ({by})" if by else "sum"
    return f"{total} (rate({metric}[$__rate_interval]))"


def _quantiles(histogram: str, by: str = "") -> dict[str, str]:
    labels, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    rate = f"sum by ({labels}) (rate({histogram}_bucket[$__rate_interval]))"
    return {f"p{int(q * 100)}{legend}": f"histogram_quantile({q}, {rate})" for q in (0.5, 0.95)}


OVERVIEW: list[Panel] = [
    ("Calls by code", "reqps", {"{{code}}": _rate('auricle_rpc_seconds_count{service="gateway"}', "code")}),
    ("Errors by reason", "reqps", {"{{service}} {{reason}}": _rate("auricle_rpc_errors_total", "service, reason")}),
    ("First text", "s", _quantiles("auricle_first_token_seconds")),
    ("Time in each service", "s", _quantiles("auricle_stage_seconds", "service")),
    ("Calls in flight", "short", {"{{service}}": "sum by (service) (auricle_rpc_in_flight)"}),
    ("Audio heard, times real time", "short", {"heard": _rate("auricle_audio_heard_seconds_total")}),
    ("Tokens", "short", {"{{kind}}": _rate("auricle_tokens_total", "kind")}),
    ("Embedding cache", "reqps", {"{{result}}": _rate("auricle_embedding_cache_lookups_total", "result")}),
    ("Embedding cache, writes", "reqps", {"{{result}}": _rate("auricle_embedding_cache_writes_total", "result")}),
    ("Embedding cache, size", "bytes", {"held": "max(auricle_embedding_cache_bytes)"}),
    ("Replicas that the callers know", "short", {"{{service}}": "max by (service) (auricle_replicas)"}),
    (
        "Calls passed over, by reason",
        "reqps",
        {"{{service}} {{reason}}": _rate("auricle_replica_passed_over_total", "service, reason")},
    ),
    (
        "Chats by the model's track",
        "reqps",
        {
            "{{track}}": _rate("auricle_chats_total", "track"),
            "of the canary's share, passed over": _rate("auricle_canary_passed_over_total"),
        },
    ),
    ("Recordings being heard", "short", {"{{instance}}": "auricle_preprocess_busy_children"}),
    (
        "Preprocess, times real time of a processor",
        "short",
        {
            "speed": f"{_rate('auricle_preprocess_audio_seconds_total')}"
            f" / {_rate('auricle_preprocess_compute_seconds_total')}"
        },
    ),
]
MODEL: list[Panel] = [
    (
        "Encoder: clips",
        "reqps",
        {"encoded": _rate("nv_inference_request_success"), "failed": _rate("nv_inference_request_failure")},
    ),
    (
        "Encoder: clips in a batch",
        "short",
        {"mean": f"{_rate('nv_inference_count')} / {_rate('nv_inference_exec_count')}"},
    ),
    (
        "Encoder: time of a clip",
        "µs",
        {
            part: f"{_rate(f'nv_inference_{name}_duration_us')} / {_rate('nv_inference_request_success')}"
            for part, name in (("waiting", "queue"), ("computing", "compute_infer"))
        },
    ),
    ("Encoder: waiting now", "short", {"{{instance}}": "nv_inference_pending_request_count"}),
    (
        "Decoder: requests",
        "short",
        {
            "running {{instance}}": "auricle_decoder_num_requests_running",
            "waiting {{instance}}": "auricle_decoder_num_requests_waiting",
        },
    ),
    ("Decoder: KV cache", "percentunit", {"{{instance}}": "auricle_decoder_kv_cache_usage_perc"}),
    (
        "Decoder: tokens",
        "short",
        {
            "prompt": _rate("auricle_decoder_prompt_tokens_total"),
            "answer": _rate("auricle_decoder_generation_tokens_total"),
        },
    ),
    (
        "Decoder: prompt tokens found in the prefix cache",
        "percentunit",
        {
            "found": f"{_rate('auricle_decoder_prefix_cache_hits_total')}"
            f" / {_rate('auricle_decoder_prefix_cache_queries_total')}"
        },
    ),
    ("Decoder: first token", "s", _quantiles("auricle_decoder_time_to_first_token_seconds")),
    ("Decoder: token to token", "s", _quantiles("auricle_decoder_inter_token_latency_seconds")),
    ("Decoder: places given up", "reqps", {"preempted": _rate("auricle_decoder_num_preemptions_total")}),
    (
        "Decoder: answers",
        "reqps",
        {"{{finish_reason}}": _rate("auricle_decoder_request_success_total", "finish_reason")},
    ),
]
JOBS: list[Panel] = [
    ("Units by end", "reqps", {"{{step}} {{outcome}}": _rate("auricle_jobs_units_total", "step, outcome")}),
    ("Units in hand", "short", {"{{step}}": "sum by (step) (auricle_jobs_units_in_flight)"}),
    ("Time of a unit", "s", _quantiles("auricle_jobs_unit_seconds", "step")),
    (
        "Announced again, removed",
        "reqps",
        {"again": _rate("auricle_jobs_units_resent_total"), "expired": _rate("auricle_jobs_expired_total")},
    ),
    ("Webhooks", "reqps", {"{{outcome}}": _rate("auricle_jobs_webhooks_total", "outcome")}),
]
DASHBOARDS = {
    "auricle-overview": ("Auricle: overview", OVERVIEW),
    "auricle-model": ("Auricle: encoder and decoder", MODEL),
    "auricle-jobs": ("Auricle: jobs", JOBS),
}


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    title, unit, queries = panel
    position = {"x": number % _COLUMNS * _WIDTH, "y": number // _COLUMNS * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "gridPos": position,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + i), "expr": query, "legendFormat": legend}
            for i, (legend, query) in enumerate(queries.items())
        ],
    }


def dashboard(uid: str) -> dict[str, Any]:
    """A dashboard as Grafana imports it."""
    title, panels = DASHBOARDS[uid]
    return {
        "uid": uid,
        "title": title,
        "tags": ["auricle"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}],
        },
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def main() -> None:
    """Write all dashboards."""
    FOLDER.mkdir(exist_ok=True)
    for uid in DASHBOARDS:
        (FOLDER / f"{uid}.json").write_text(json.dumps(dashboard(uid), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
