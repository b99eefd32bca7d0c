"""The workers of long recordings: Celery tasks over the record of services.jobstore and the pipeline."""
