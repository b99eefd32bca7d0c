"""What every service shares: server shell, errors, settings, channels, telemetry. No torch, no model."""
