"""The gateway's settings: every mistake is found before it serves."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.common.auth import create_key
from services.common.settings import load
from services.gateway.settings import GatewaySettings

pytestmark = pytest.mark.unit


def given(**fields: Any) -> GatewaySettings:
    return GatewaySettings(**fields)


def test_the_defaults_are_a_platform_on_one_machine_without_keys_and_cache() -> None:
    settings = given()
    assert settings.port == 8400
    assert settings.api_keys_file is None
    assert settings.redis_url is None
    assert settings.store_url.startswith("file:///")
    assert settings.max_audio_parts == 16


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"PORT": "70000", "STORE_URL": "bogus://x", "API_KEYS_FILE": "/nowhere/keys"}.items():
        monkeypatch.setenv(f"AURICLE_GATEWAY_{name}", value)
    with pytest.raises(SystemExit):
        load(GatewaySettings)
    told = capsys.readouterr().err
    assert all(f"AURICLE_GATEWAY_{name}" in told for name in ("PORT", "STORE_URL", "API_KEYS_FILE"))


def test_a_broken_key_file_is_told_by_line_and_not_by_content(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("acme secret\n")
    with pytest.raises(ValidationError) as raised:
        given(api_keys_file=path)
    told = raised.value.errors()[0]["msg"]
    assert "line 1" in told
    assert "secret" not in told
    path.write_text(create_key("acme")[1])
    assert given(api_keys_file=path).api_keys_file == path


def test_inline_audio_must_leave_room_in_a_message() -> None:
    with pytest.raises(ValidationError, match="max_message_bytes"):
        given(max_message_bytes=2**20, max_inline_bytes=2**20)
