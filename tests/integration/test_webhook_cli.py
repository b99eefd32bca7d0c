"""`auricle jobs webhook-test` against a true receiver, and `auricle keys webhook-secret`."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from auricle.cli._app import build_app
from services.common.webhook_secrets import SecretsFile, create_secret
from tests.https_server import AUTHORITY, https_server
from tests.webhook_receiver import MOVE, Receiver

pytestmark = pytest.mark.integration

SECRET = create_secret("ann")[0]


async def run(*arguments: str, secret: str = SECRET) -> Any:
    environment = {"AURICLE_WEBHOOK_SECRET": secret, "no_proxy": "*"}
    return await asyncio.to_thread(CliRunner(env=environment).invoke, build_app(), [*arguments])


@pytest.mark.parametrize(
    ("answer", "secret", "code", "told"),
    [
        (200, SECRET, 0, "answered 200: accepted"),
        (500, SECRET, 1, "answered 500: not accepted"),
        (MOVE, SECRET, 1, "answered 302: not accepted"),
        (200, create_secret("ann")[0], 1, "answered 401: not accepted"),
        (200, "whsec_", 2, "the secret is none"),
        (200, "whsec_ä", 2, "the secret is none"),
    ],
)
async def test_a_receiver_is_told_an_event_as_the_platform_tells_it(
    answer: int, secret: str, code: int, told: str, tmp_path: Path
) -> None:
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    receiver = Receiver(SECRET, answer)
    async with https_server(receiver.answer, host="localhost") as server:
        url = server.url("/hooks", "localhost")
        result = await run("jobs", "webhook-test", url, "--ca", str(tmp_path / "ca.pem"), secret=secret)
    assert (result.exit_code, told in result.output) == (code, True), result.output
    assert len(receiver.tries) == (code < 2)
    assert len(receiver.accepted) == (code == 0)
    for event in receiver.accepted:
        assert (event["type"], event["data"]["state"]) == ("analysis_job.succeeded", "SUCCEEDED")


async def test_an_address_where_nobody_listens_is_told() -> None:
    async with https_server(Receiver(SECRET).answer, host="localhost") as server:
        url = server.url("/hooks", "localhost")
        # Its authority is not trusted.
        result = await run("jobs", "webhook-test", url)
        assert (result.exit_code, "did not answer" in result.output) == (1, True), result.output
    result = await run("jobs", "webhook-test", url)
    assert (result.exit_code, "did not answer" in result.output) == (1, True), result.output
    assert (await run("jobs", "webhook-test", "ftp://localhost/")).exit_code == 2


async def test_a_secret_is_created_for_the_file_of_the_platform(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    printed = [(await run("keys", "webhook-secret", "ann", "--file", str(path))).output.strip() for _ in range(2)]
    assert SecretsFile(path).of("ann") == tuple(printed)
    assert path.stat().st_mode & 0o077 == 0
    assert (await run("keys", "webhook-secret", "a/b", "--file", str(path))).exit_code == 1
