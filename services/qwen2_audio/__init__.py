"""Qwen2-Audio as a library: log-mel, audio encoder, prompt and weights.

Nothing is re-exported here, so that ``services.qwen2_audio.mel`` (numpy only) can be imported where torch is not
installed.
"""
