"""Files that users write: checked against a model of pydantic's, every mistake told at once with its place."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from services.planning.errors import PlanningError


class Section(BaseModel):
    """A part of such a file: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


SectionT = TypeVar("SectionT", bound=Section)


def checked(kind: type[SectionT], content: Any, place: Path | str) -> SectionT:
    """The content as a `kind`.

    Raises:
        PlanningError: it is none; names the place and each mistake.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, e['loc'])) or 'the whole'}: {e['msg']}" for e in error.errors()]
        raise PlanningError(f"{place}: " + "; ".join(mistakes)) from None


def text_of(path: Path) -> str:
    """What a file holds.

    Raises:
        PlanningError: it cannot be read.
    """
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PlanningError(f"{path}: {getattr(error, 'strerror', None) or 'not a text'}") from None
