"""``auricle k8s``: a release of the chart, looked at and changed through the Kubernetes API.

Nothing is kept elsewhere: what a rollout has come to is read from the objects themselves. Objects are plain dicts, as
the API has them, since most of them are copies of what the chart made.
"""
