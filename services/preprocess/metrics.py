"""What preprocess tells Prometheus, besides the calls that the server shell counts."""

from prometheus_client import Counter, Gauge

BUSY_CHILDREN = Gauge("auricle_preprocess_busy_children", "Recordings being heard.")
AUDIO_SECONDS = Counter("auricle_preprocess_audio_seconds_total", "Seconds of audio cut into windows.")
COMPUTE_SECONDS = Counter("auricle_preprocess_compute_seconds_total", "Processor time that finished recordings took.")
