"""The queues between the gateway and the workers: Celery over Redis.

A message says which unit of work is ready and nothing else. It may be lost or come twice; the record decides.
"""

from collections.abc import Iterable

from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from auricle.v1 import jobs_pb2
from services.common import telemetry
from services.jobstore.model import Step, Unit

WORK_TASK = "auricle.jobs.work"
LOOK_AFTER_TASK = "auricle.jobs.look_after"
CLEAN_TASK = "auricle.jobs.clean"
SWEEP_TASK = "auricle.jobs.sweep"
DELIVER_TASK = "auricle.jobs.deliver"
# Finishing decodes too (an analysis is combined by the model), and is as short as a window's decoding.
QUEUE_OF = {Step.PREPARE: "prepare", Step.ENCODE: "encode", Step.DECODE: "decode", Step.FINISH: "decode"}
UPKEEP_QUEUE = "upkeep"
# In the order in which a worker that serves several takes from them: what was begun is finished first.
QUEUES = (UPKEEP_QUEUE, "decode", "encode", "prepare")
# Redis knows no priorities: Celery keeps a list for each step, and a lower number goes first.
PRIORITY_STEPS = [0, 3, 6]
_PRIORITY: dict[int, int] = {
    jobs_pb2.JOB_PRIORITY_INTERACTIVE: 0,
    jobs_pb2.JOB_PRIORITY_UNSPECIFIED: 3,
    jobs_pb2.JOB_PRIORITY_NORMAL: 3,
    jobs_pb2.JOB_PRIORITY_BULK: 6,
}


def celery_app(redis_url: str, *, visibility_timeout_seconds: int = 3600) -> Celery:
    """The Celery application that producers and workers share."""
    app = Celery("auricle", broker=redis_url)
    app.conf.update(
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        task_default_queue=UPKEEP_QUEUE,
        task_ignore_result=True,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A producer that cannot reach Redis gives up soon: what it would have said, `look_after` says later.
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1},
        broker_transport_options={
            "visibility_timeout": visibility_timeout_seconds,
            "unacked_restore_interval": min(10, visibility_timeout_seconds),
            "unacked_restore_throttle": 1,
            "priority_steps": PRIORITY_STEPS,
            "queue_order_strategy": "priority",
            "socket_timeout": 5.0,
            "socket_connect_timeout": 2.0,
        },
        worker_hijack_root_logger=False,
        worker_enable_remote_control=True,
    )
    return app


class Dispatcher:
    """Sends units to the workers.

    Args:
        app: from `celery_app`.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, units: Iterable[Unit], priority: int) -> None:
        """Say that units are ready; `priority` is a jobs_pb2.JobPriority. Blocks while Redis answers.

        What cannot be sent is sent later by whoever looks after overdue units.
        """
        for unit in units:
            try:
                self._app.send_task(WORK_TASK, [str(unit)], queue=QUEUE_OF[unit.step], priority=_PRIORITY[priority])
            except OperationalError as error:
                telemetry.logger().warning("a unit could not be announced", unit=str(unit), error=str(error))
                return
