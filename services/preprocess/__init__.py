"""From bytes of any common audio format to windows of at most 30 s with their log-mel spectrograms.

The service has two halves. Outside, an asyncio gRPC server admits calls, relays bytes and keeps time. Inside, in
`services.preprocess.sandbox`, one single-use child process for each recording demuxes, decodes, resamples, finds
speech, cuts and computes; it can touch nothing but its socket. `domain` is what both halves know, `wire` how they talk.
"""
