"""Publish a checkpoint's audio half as a new version of Triton's model, if it computes what transformers computes."""

from dataclasses import dataclass
from pathlib import Path

from services.common.errors import FailedPrecondition
from services.encoder import parity
from services.encoder.repository import EncoderRepository, dimensions, fill
from services.encoder.settings import EncoderSettings
from services.qwen2_audio.weights import Checkpoint, load_audio_encoder


class PublishError(FailedPrecondition):
    """The checkpoint cannot become a version of this repository."""

    default_reason = "ENCODER_NOT_PUBLISHABLE"


class ParityError(PublishError):
    """The encoder's embeddings differ from transformers'. `report` has the numbers."""

    default_reason = "ENCODER_PARITY"

    def __init__(self, report: parity.ParityReport) -> None:
        super().__init__(str(report))
        self.report = report


@dataclass(frozen=True)
class Published:
    """A version that Triton can serve.

    Attributes:
        version: its number.
        directory: where it lies.
        fingerprint: of the checkpoint that it comes from.
        report: how its embeddings compare with transformers'.
    """

    version: int
    directory: Path
    fingerprint: str
    report: parity.ParityReport

    def __str__(self) -> str:
        return f"version {self.version} of checkpoint {self.fingerprint[:12]} in {self.directory}; {self.report}"


def publish(
    checkpoint: Path, repository: Path, version: int | None = None, settings: EncoderSettings | None = None
) -> Published:
    """Write `<repository>/audio_encoder/<version>` and config.pbtxt; a failure leaves the repository as it was.

    Args:
        checkpoint: directory in the official layout.
        repository: Triton's model repository; made when it is not there.
        version: 1 or more; the next free one by default.
        settings: how to serve; from the environment by default.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        PublishError: the version is taken, or mel bins or width differ from the versions already there.
        ParityError: embeddings differ from transformers'.
    """
    opened = Checkpoint(checkpoint)
    target = EncoderRepository(repository)
    with target.locked():
        number = _free_version(target, version)
        _check_dimensions(target, opened)
        with target.staging() as staging:
            fill(staging, opened)
            report = parity.compare(load_audio_encoder(staging), checkpoint)
            if not report.passed:
                raise ParityError(report)
            # The config goes first: a fingerprint without its version does no harm, the opposite would.
            target.write_config(settings or EncoderSettings(), coming=(number, opened))
            directory = staging.rename(target.directory / str(number))
    return Published(number, directory, opened.fingerprint, report)


def published_version(repository: Path, fingerprint: str) -> int | None:
    """The latest version that this release has published from the checkpoint with this fingerprint, if there is one."""
    return EncoderRepository(repository).version_of(fingerprint)


def _free_version(repository: EncoderRepository, wanted: int | None) -> int:
    taken = repository.versions()
    if wanted is None:
        return max(taken, default=0) + 1
    if wanted < 1:
        raise PublishError(f"a version is a number from 1 on, not {wanted}")
    if wanted in taken:
        raise PublishError(f"version {wanted} is there already and versions never change; publish another number")
    return wanted


def _check_dimensions(repository: EncoderRepository, checkpoint: Checkpoint) -> None:
    given = dimensions(checkpoint)
    for version in repository.versions():
        there = dimensions(repository.checkpoint(version))
        if there != given:
            raise PublishError(
                f"the checkpoint has {given[0]} mel bins and width {given[1]}, but version {version} has {there[0]} "
                f"and {there[1]}; publish it into a repository of its own"
            )
