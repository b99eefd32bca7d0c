"""Ask questions about audio.

    from auricle import Client

    with Client() as client:
        answer = client.chat([
            {"type": "audio", "audio": "clip.wav"},
            {"type": "text", "text": "What is said here?"},
        ])
        print(answer)

`Client` blocks, `AsyncClient` is the same for asyncio. The tree of errors stands in the docstring of `auricle._errors`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auricle._public import *  # noqa: F403


def __getattr__(name: str) -> Any:
    # Services import the contract, auricle.v1, and should not pay for the SDK around it; and the `auricle` command has
    # to set gRPC's log level before gRPC is loaded. So the public names are loaded when the first of them is used.
    return getattr(importlib.import_module("auricle._public"), name)


def __dir__() -> list[str]:
    return list(importlib.import_module("auricle._public").__all__)
