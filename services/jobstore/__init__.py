"""The record of jobs: what the gateway and the workers both read and change. No Celery task, no model."""
