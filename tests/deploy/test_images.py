"""The images: their Dockerfiles lint, are pinned, run without rights, and carry what they need and no more."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from services.common import settings as ports
from tests.deploy.chart import CHART, ROOT
from tests.deploy.test_compose import compose
from tests.unit.test_imports import imported_modules

pytestmark = pytest.mark.deploy

DOCKER = ROOT / "deploy" / "docker"
DOCKERFILES = [DOCKER / "Dockerfile", DOCKER / "triton.Dockerfile"]
PYTHON = (DOCKER / "Dockerfile").read_text()
TARGETS = {"gateway", "worker", "preprocess", "decoder", "model"}


def stages(text: str) -> dict[str, str]:
    """By name, the stages of a Dockerfile."""
    parts = re.split(r"^FROM (\S+)(?: AS (\S+))?\n", text, flags=re.MULTILINE)[1:]
    return {name or "final": f"FROM {base}\n{body}" for base, name, body in zip(*[iter(parts)] * 3, strict=True)}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(path: Path) -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_bases_are_pinned_and_nothing_runs_as_root(path: Path) -> None:
    text = path.read_text()
    bases = re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", text, re.MULTILINE)
    assert bases
    for _, image in bases:
        assert re.search(r":\d+\.\d+", image), image
    built_from = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    assert built_from <= {f"${{{name}}}" for name, _ in bases} | stages(text).keys()
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE) == ["10001:10001"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_versions_are_those_of_the_constraints(path: Path) -> None:
    installs = re.findall(r"pip install (?:[^\n]|\\\n)*", path.read_text())
    assert installs
    for install in installs:
        assert "--constraint constraints.txt" in install or "--requirement mini.txt" in install
    text = (DOCKER / "triton-requirements.txt").read_text()
    required = {line for line in text.splitlines() if not line.startswith("#")}
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert required <= pinned


def test_there_is_an_image_for_everything_that_chart_and_compose_run() -> None:
    names = {service["image"] for service in compose()["services"].values()}
    used = {name.split("/")[1].split(":")[0] for name in names if name.startswith("auricle/")}
    in_chart = set(re.findall(r"^  image: (\w+)$", (CHART / "templates" / "_components.tpl").read_text(), re.MULTILINE))
    assert used == TARGETS | {"encoder"}
    assert in_chart | {"model"} == used
    assert stages(PYTHON).keys() >= TARGETS | {"trainer"}
    targets = {service["build"].get("target") for service in compose()["services"].values() if "build" in service}
    assert targets - {None} == TARGETS


def test_gateway_and_worker_carry_no_torch() -> None:
    for name in ("gateway", "worker"):
        assert "COPY --from=caller-packages /opt/venv /opt/venv" in stages(PYTHON)[name]
    assert "'.[" not in stages(PYTHON)["base-packages"]
    assert re.findall(r"'\.\[(.*)\]'", stages(PYTHON)["caller-packages"]) == ["cluster"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    installed = {*project["dependencies"], *project["optional-dependencies"]["cluster"]}
    assert not {"torch", "transformers"} & installed


@pytest.mark.parametrize(("target", "extra"), [("preprocess", "preprocess"), ("decoder", "model"), ("model", "model")])
def test_a_service_has_its_extra(target: str, extra: str) -> None:
    packages = re.search(r"COPY --from=(\S+) /opt/venv", stages(PYTHON)[target])
    assert packages
    stage = stages(PYTHON)[packages[1]]
    while "'.[" not in stage:
        stage = stages(PYTHON)[stage.split()[1]]
    assert f"'.[{extra}]'" in stage


def test_health_is_asked_at_the_services_own_ports() -> None:
    for name in ("gateway", "preprocess", "decoder"):
        port = getattr(ports, f"{name.upper()}_PORT")
        assert f'"services.common.probe", "127.0.0.1:{port}"' in stages(PYTHON)[name]
        assert f"EXPOSE {port} {getattr(ports, f'{name.upper()}_METRICS_PORT')}" in stages(PYTHON)[name]
    assert str(ports.WORKER_METRICS_PORT) in stages(PYTHON)["worker"]
    triton = (DOCKER / "triton.Dockerfile").read_text()
    assert f"EXPOSE {ports.ENCODER_GRPC_PORT} {ports.ENCODER_HTTP_PORT} {ports.ENCODER_METRICS_PORT}" in triton
    assert f"127.0.0.1:{ports.ENCODER_HTTP_PORT}/v2/health/ready" in triton


def test_triton_is_not_the_first_process_of_its_container() -> None:
    """The kernel spares that one from the signal by which a dead model takes its server along."""
    assert 'ENTRYPOINT ["tini", "--"]' in (DOCKER / "triton.Dockerfile").read_text()


def third_party_imports(*modules: str) -> set[str]:
    """Packages from elsewhere that these modules of ours import, over all that they import of ours."""
    found, queue, seen = set(), list(modules), set()
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        queue += [name.rpartition(".")[0]] if "." in name else []
        place = ROOT / name.replace(".", "/")
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if path.exists():
            ours = imported_modules(path)
            queue += [other for other in ours if other.startswith("services")]
            found |= {other.partition(".")[0] for other in ours}
    return found - {"services", *sys.stdlib_module_names}


def test_triton_has_every_package_that_its_programs_import() -> None:
    programs = ("services.encoder.serve", "services.encoder.batch", "services.encoder.lifeline")
    text = (DOCKER / "triton-requirements.txt").read_text()
    required = {line.replace("-", "_") for line in text.splitlines() if not line.startswith("#")}
    # pydantic-settings brings pydantic.
    assert third_party_imports(*programs) == required | {"pydantic"}


def test_the_build_context_has_what_is_copied_and_no_weights_of_this_machine() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    for path in DOCKERFILES:
        for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", path.read_text(), re.MULTILINE):
            for source in sources.split():
                assert (ROOT / source).exists()
                assert any(source == entry or source.startswith(f"{entry}/") for entry in allowed), source
    assert ignored[0] == "*"
    assert "model_repo/*/[0-9]*" in ignored
