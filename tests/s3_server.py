"""A real S3 server, SeaweedFS from its wheel, on free ports."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

HOST = "127.0.0.1"
BUCKET = "auricle"
_ACCESS_KEY, _SECRET_KEY = "auricle", "0123456789abcdef"
_START_SECONDS = 60.0
_PORTS = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
_FRONT_PORTS = ("filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc")


@dataclass(frozen=True)
class S3Server:
    """Where it is."""

    port: int

    @property
    def environment(self) -> dict[str, str]:
        """By which S3's clients find it."""
        return {
            "AWS_ENDPOINT": f"http://{HOST}:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": _ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET_KEY,
        }

    def bucket(self) -> S3Store:
        """A client of the bucket."""
        return S3Store(
            BUCKET,
            endpoint=f"http://{HOST}:{self.port}",
            client_options={"allow_http": True},
            region="us-east-1",
            access_key_id=_ACCESS_KEY,
            secret_access_key=_SECRET_KEY,
        )


@contextmanager
def running_s3(folder: Path) -> Iterator[S3Server]:
    """A server that keeps its bucket in the folder."""
    ports = _free_ports()
    command = [str(Path(sys.executable).with_name("weed")), "server", f"-dir={folder}", f"-ip={HOST}"]
    command += ["-filer", "-s3", "-s3.autoCreateBucket", "-master.volumeSizeLimitMB=64", f"-s3.config={_keys(folder)}"]
    # It would report statistics to its makers, and serve tables.
    command += ["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    log = folder / "log"
    environment = {**os.environ, "TMPDIR": str(folder)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    server = S3Server(ports["s3.port"])
    try:
        _wait(server, process, log)
        yield server
    finally:
        # Asked to stop it takes ten seconds; what it kept is thrown away anyway.
        process.kill()
        process.wait()


def _wait(server: S3Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            obstore.put(server.bucket(), "ready", b"x")
            return
        except BaseError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
                raise RuntimeError(f"the S3 server does not answer: {error}\n{tail}") from None
        time.sleep(0.1)


def _keys(folder: Path) -> Path:
    path = folder / "s3.json"
    credentials = [{"accessKey": _ACCESS_KEY, "secretKey": _SECRET_KEY}]
    identity = {"name": "auricle", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
    path.write_text(json.dumps({"identities": [identity]}))
    return path


def _free_ports() -> dict[str, int]:
    names = [*_PORTS, *_FRONT_PORTS]
    sockets = [socket.create_server((HOST, 0)) for _ in names]
    ports = {name: s.getsockname()[1] for name, s in zip(names, sockets, strict=True)}
    for s in sockets:
        s.close()
    return ports
