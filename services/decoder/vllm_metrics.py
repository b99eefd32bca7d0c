"""vLLM's own counts under the decoder's names."""

from collections.abc import Callable

from vllm.config import VllmConfig
from vllm.v1.metrics.loggers import StatLoggerBase
from vllm.v1.metrics.stats import IterationStats, MultiModalCacheStats, SchedulerStats

from services.decoder import metrics


class LoadPublisher(StatLoggerBase):
    """Publishes what vLLM tells of each step; answers and their tokens are counted where they are read.

    Args:
        open_requests: how many requests are open. vLLM's report of a step may come after the last one's end.
    """

    def __init__(self, open_requests: Callable[[], int]) -> None:
        self._open_requests = open_requests

    @classmethod
    def factory(cls, open_requests: Callable[[], int]) -> Callable[[VllmConfig, int], StatLoggerBase]:
        """What vLLM makes its logger with."""
        return lambda config, engine_index: cls(open_requests)

    def record(
        self,
        scheduler_stats: SchedulerStats | None,
        iteration_stats: IterationStats | None,
        mm_cache_stats: MultiModalCacheStats | None = None,
        engine_idx: int = 0,
    ) -> None:
        """Take the figures of a step."""
        if iteration_stats is not None:
            metrics.PREEMPTIONS.inc(iteration_stats.num_preempted_reqs)
        if scheduler_stats is not None and self._open_requests():
            waiting = scheduler_stats.num_waiting_reqs + scheduler_stats.num_skipped_waiting_reqs
            metrics.publish_load(scheduler_stats.num_running_reqs, waiting, scheduler_stats.kv_cache_usage)

    def log_engine_initialized(self) -> None:
        """Nothing is told at the start."""
