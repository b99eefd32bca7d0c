"""Pages of jobs: filters (a small part of AIP-160) and page tokens (AIP-158)."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from auricle.v1 import jobs_pb2
from services.common.errors import InvalidArgument

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 500
MAX_FILTER_CHARS = 1_000
_TERM = re.compile(
    r'(?P<field>state|priority|labels\.[a-z][a-z0-9_.-]{0,62})\s*=\s*(?:"(?P<text>[^"]*)"|(?P<word>\w+))'
    r"(?:\s+AND\s+(?=\S)|$)"
)

Matches = Callable[[jobs_pb2.AnalysisJob], bool]


@dataclass(frozen=True)
class Page:
    """Jobs, and the token of the next page; empty at the end."""

    jobs: list[jobs_pb2.AnalysisJob]
    next_page_token: str


@dataclass(frozen=True)
class PageToken:
    """Where a page begins.

    Attributes:
        after: creation time (ms) and id of the last job of the page before.
        page_size: jobs of a page.
        scope: what the token is good for: one tenant and one filter.
    """

    after: tuple[int, str] | None
    page_size: int
    scope: str

    @classmethod
    def read(cls, request: jobs_pb2.ListAnalysisJobsRequest, tenant: str) -> "PageToken":
        """The token of a request.

        Raises:
            InvalidArgument: the page size is negative, or the token is not one of ours for this filter.
        """
        if request.page_size < 0:
            raise InvalidArgument.of_field("page_size", "must not be negative")
        size = min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        first = cls(None, size, hashlib.sha256(f"{tenant}\n{request.filter}".encode()).hexdigest())
        if not request.page_token:
            return first
        try:
            created_ms, job_id, check = json.loads(base64.urlsafe_b64decode(request.page_token))
            token = replace(first, after=(int(created_ms), str(job_id)))
            if check != token._check():
                raise ValueError
        except (binascii.Error, ValueError, TypeError):
            raise InvalidArgument.of_field(
                "page_token", "is not the next_page_token of a page with this filter", reason="PAGE_TOKEN_INVALID"
            ) from None
        return token

    def next(self, after: tuple[int, str] | None) -> str:
        """The token of the page that begins after this job."""
        token = replace(self, after=after)
        return base64.urlsafe_b64encode(json.dumps([*(after or ()), token._check()]).encode()).decode()

    def _check(self) -> str:
        """Finds edited tokens. It is no secret: a token gives access to nothing."""
        return hashlib.sha256(f"{self.scope}{self.after}".encode()).hexdigest()[:16]


def matching(text: str) -> Matches:
    """The jobs that a filter means: terms `state = RUNNING`, `priority = BULK`, `labels.KEY = "value"` joined by AND.

    Raises:
        InvalidArgument: it is none (FILTER_INVALID).
    """
    if len(text) > MAX_FILTER_CHARS:
        raise _invalid(f"at most {MAX_FILTER_CHARS} characters")
    terms, rest = [], text.strip()
    while rest:
        match = _TERM.match(rest)
        if match is None:
            raise _invalid(f"{rest[:80]!r} is no term; terms are like state = RUNNING, joined by AND")
        terms.append(_term(match))
        rest = rest[match.end() :]
    return lambda job: all(term(job) for term in terms)


def _term(match: re.Match[str]) -> Matches:
    field, value = match["field"], match["text"] if match["text"] is not None else match["word"]
    if field == "state":
        if f"STATE_{value}" not in dict(jobs_pb2.AnalysisJob.State.items()):
            raise _invalid(f"{value[:40]!r} is no state")
        state = jobs_pb2.AnalysisJob.State.Value(f"STATE_{value}")
        return lambda job: job.state == state
    if field == "priority":
        if f"JOB_PRIORITY_{value}" not in dict(jobs_pb2.JobPriority.items()):
            raise _invalid(f"{value[:40]!r} is no priority")
        priority = jobs_pb2.JobPriority.Value(f"JOB_PRIORITY_{value}")
        return lambda job: job.priority == priority
    key = field.removeprefix("labels.")
    return lambda job: job.labels.get(key) == value


def _invalid(description: str) -> InvalidArgument:
    return InvalidArgument.of_field("filter", description, reason="FILTER_INVALID")
