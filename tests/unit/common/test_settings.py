"""Settings come from the environment; all mistakes are told at once."""

import pytest
from pydantic import Field, ValidationError
from pydantic_settings import SettingsConfigDict

from services.common.settings import ServerSettings, Settings, load

pytestmark = pytest.mark.unit


class Example(ServerSettings):
    model_config = SettingsConfigDict(env_prefix="AURICLE_EXAMPLE_")

    port: int = 1
    window_seconds: float = Field(30.0, gt=0, le=30)


def test_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AURICLE_EXAMPLE_WINDOW_SECONDS", "12.5")
    assert load(Example).window_seconds == 12.5


def test_all_mistakes_are_named_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AURICLE_EXAMPLE_WINDOW_SECONDS", "31")
    monkeypatch.setenv("AURICLE_EXAMPLE_MAX_CONCURRENT_RPCS", "many")
    with pytest.raises(SystemExit) as ended:
        load(Example)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "2 setting(s)" in told
    assert "AURICLE_EXAMPLE_WINDOW_SECONDS" in told
    assert "AURICLE_EXAMPLE_MAX_CONCURRENT_RPCS" in told
    assert "'many'" in told


def test_a_required_setting_that_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    class Needy(Settings):
        model_config = SettingsConfigDict(env_prefix="AURICLE_NEEDY_")

        address: str

    with pytest.raises(SystemExit):
        load(Needy)
    assert "AURICLE_NEEDY_ADDRESS" in capsys.readouterr().err


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Example().port = 3  # type: ignore[misc]
