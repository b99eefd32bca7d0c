"""The language half: conversations with audio embeddings in, text out, many requests decoded together."""
