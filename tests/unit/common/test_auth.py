"""API keys: what is stored, who is let in, and what happens when the file changes."""

import hashlib
import os
from pathlib import Path

import pytest

from services.common.auth import KeyFile, create_key
from services.common.errors import InvalidArgument

pytestmark = pytest.mark.unit


def rewrite(path: Path, *lines: str) -> None:
    """Replace the file's lines so that its time stamp differs, however fast the test runs."""
    path.write_text("\n".join(lines) + "\n")
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))


@pytest.fixture
def keys_path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_a_key_is_random_and_only_its_hash_is_stored() -> None:
    (key, line), (other, _) = create_key("acme"), create_key("acme")
    tenant, key_id, digest = line.split()
    assert key != other
    assert len(key.split(".")[2]) >= 43
    assert (tenant, digest) == ("acme", hashlib.sha256(key.encode()).hexdigest())
    assert key_id in key
    assert key.split(".")[2] not in line


@pytest.mark.parametrize("tenant", ["", "a b", "../etc", "x" * 64, "a/b", "a\nb"])
def test_a_tenant_that_could_not_be_a_folder_is_refused(tenant: str) -> None:
    with pytest.raises(InvalidArgument):
        create_key(tenant)


def test_a_key_names_its_tenant_and_a_wrong_one_names_nobody(keys_path: Path) -> None:
    (key, line), (_, other_line) = create_key("acme"), create_key("other")
    keys_path.write_text(f"# keys\n\n{line}\n{other_line}\n")
    keys = KeyFile(keys_path)
    assert keys.tenant_of(key) == "acme"
    assert keys.tenant_of(key[:-1] + ("A" if key[-1] != "A" else "B")) is None
    assert keys.tenant_of(f"auricle.{line.split()[1]}.") is None
    assert keys.tenant_of("") is None


def test_the_stored_hash_is_no_key(keys_path: Path) -> None:
    _, line = create_key("acme")
    keys_path.write_text(line)
    _, key_id, digest = line.split()
    assert KeyFile(keys_path).tenant_of(f"auricle.{key_id}.{digest}") is None


def test_a_changed_file_counts_at_once(keys_path: Path) -> None:
    (key, line), (new_key, new_line) = create_key("acme"), create_key("acme")
    keys_path.write_text(line)
    keys = KeyFile(keys_path)
    rewrite(keys_path, new_line)
    assert keys.tenant_of(key) is None
    assert keys.tenant_of(new_key) == "acme"


def test_a_file_broken_later_leaves_the_last_keys_valid(keys_path: Path) -> None:
    key, line = create_key("acme")
    keys_path.write_text(line)
    keys = KeyFile(keys_path)
    rewrite(keys_path, "nonsense")
    assert keys.tenant_of(key) == "acme"
    keys_path.unlink()
    assert keys.tenant_of(key) == "acme"


@pytest.mark.parametrize("line", ["acme", "acme id nothex", "a/b id " + "0" * 64, "acme id " + "0" * 63])
def test_a_file_broken_from_the_start_is_refused_by_line(keys_path: Path, line: str) -> None:
    keys_path.write_text(f"# keys\n{line}\n")
    with pytest.raises(ValueError, match="line 2"):
        KeyFile(keys_path)


def test_a_key_id_given_twice_is_refused(keys_path: Path) -> None:
    _, line = create_key("acme")
    keys_path.write_text(f"{line}\n{line}\n")
    with pytest.raises(ValueError, match="repeats"):
        KeyFile(keys_path)
