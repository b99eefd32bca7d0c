"""Prepare, encode, decode: the path of a request through the platform, as a library for whoever answers requests.

Import from the modules: `pipeline` has the whole path, `hearing` the path from audio to embeddings.
"""
