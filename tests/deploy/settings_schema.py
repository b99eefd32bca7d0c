"""`make helm-schema`: the services' settings, with their limits, as definitions in the chart's schema of values.

So a setting that is misspelt or out of limits is refused when the chart is rendered, not when a pod starts. What the
chart sets itself (ports, addresses, paths) is left out: values cannot set it.
"""

import json
from pathlib import Path
from typing import Any

from services.common.settings import Settings
from services.decoder.settings import DecoderSettings
from services.encoder.settings import EncoderServerSettings
from services.gateway.settings import GatewaySettings
from services.jobs.settings import WorkerSettings
from services.preprocess.settings import PreprocessSettings

SCHEMA = Path(__file__).parents[2] / "deploy" / "helm" / "auricle" / "values.schema.json"
# By the prefix of their variables, AURICLE_PREFIX_...
SETTINGS: dict[str, type[Settings]] = {
    "GATEWAY": GatewaySettings,
    "PREPROCESS": PreprocessSettings,
    "ENCODER": EncoderServerSettings,
    "DECODER": DecoderSettings,
    "WORKER": WorkerSettings,
}
SET_BY_THE_CHART = {
    "api_keys_file",
    "canary_decoder_address",
    "canary_encoder_address",
    "canary_percent",
    "checkpoint",
    "decoder_address",
    "drain_seconds",
    "encoder_address",
    "grpc_port",
    "host",
    "http_port",
    "metrics_port",
    "model",
    "model_name",
    "port",
    "preprocess_address",
    "redis_url",
    "services_ca",
    "services_cert",
    "services_key",
    "spool_dir",
    "store_url",
    "tls_cert",
    "tls_client_ca",
    "tls_key",
    "traces_url",
    "triton",
    "volume",
}


def definitions() -> dict[str, Any]:
    """By name, the definition of each service's settings."""
    return {f"{prefix.lower()}Settings": _definition(settings) for prefix, settings in SETTINGS.items()}


def _definition(settings: type[Settings]) -> dict[str, Any]:
    fields = settings.model_json_schema()["properties"]
    # Defaults differ between machines (processors, home) and are the service's own matter.
    properties = {
        name: {key: value for key, value in field.items() if key not in ("title", "default")}
        for name, field in sorted(fields.items())
        if name not in SET_BY_THE_CHART
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def main() -> None:
    """Write the definitions."""
    schema = json.loads(SCHEMA.read_text())
    schema["$defs"].update(definitions())
    SCHEMA.write_text(json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    main()
