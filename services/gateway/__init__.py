"""The public face of the platform: checks requests, keeps tenants' uploads, and answers through the pipeline."""
