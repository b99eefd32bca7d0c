"""The tree of errors, and what it makes of a call's end."""

import pickle
from typing import Any

import grpc
import pytest

import auricle
from auricle import _errors
from auricle._errors import GRPC_DETAILS_METADATA_KEY, AuricleError, from_rpc_error

pytestmark = pytest.mark.unit


class RpcError(grpc.RpcError):
    """What gRPC raises, in both its clients."""

    def __init__(self, code: grpc.StatusCode, details: str | None, trailing: Any) -> None:
        self._code, self._details, self._trailing = code, details, trailing

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str | None:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._trailing


def error_of(code: grpc.StatusCode, details: str | None = "why", trailing: tuple = ()) -> AuricleError:
    return from_rpc_error(RpcError(code, details, trailing), address="here:1", request_id="r1")


def test_every_code_but_ok_has_its_class() -> None:
    codes = set(grpc.StatusCode) - {grpc.StatusCode.OK}
    assert {cls.code for cls in AuricleError.__subclasses__()} == codes
    for code in codes:
        error = error_of(code)
        assert type(error).code is code
        assert type(error) is not AuricleError
        assert error.reason == code.name


def test_every_class_is_public_and_stands_in_the_tree_of_the_docstring() -> None:
    for cls in AuricleError.__subclasses__():
        assert cls.__name__ in auricle.__all__
        assert any(
            cls.__name__ in line and line.endswith(cls.code.name) for line in (_errors.__doc__ or "").splitlines()
        )


def test_an_error_without_details_says_where_it_comes_from() -> None:
    assert str(error_of(grpc.StatusCode.UNAVAILABLE, "refused")) == "cannot reach here:1: refused"
    assert str(error_of(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")) == "here:1 did not answer in time"
    assert "here:1 does not know this call: it is older" in str(error_of(grpc.StatusCode.UNIMPLEMENTED, None))


def test_broken_details_do_not_hide_the_error() -> None:
    error = error_of(grpc.StatusCode.NOT_FOUND, "gone", ((GRPC_DETAILS_METADATA_KEY, b"\xff\xff"),))
    assert isinstance(error, auricle.NotFoundError)
    assert str(error) == "here:1: gone"


def test_errors_survive_pickling() -> None:
    error = auricle.ResourceExhaustedError("full", reason="QUEUE_FULL", retry_after_seconds=1.5, request_id="r1")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is auricle.ResourceExhaustedError
    assert (str(copy), vars(copy)) == (str(error), vars(error))
