"""What the cluster, or what stands before it, answers instead of success."""

from __future__ import annotations

import pytest

from penstock.core.errors import BadInput, PlatformAway
from penstock.platforms.kubernetes.errors import Answered, as_ours


@pytest.mark.parametrize("body", [b'["a", "b"]', b'"busy"', b"12", b"null", b"<html>busy</html>", b"", b"\xff\xfe"])
def test_a_body_that_is_no_object_is_told_as_it_is(body: bytes) -> None:
    answer = Answered(503, body)
    assert (answer.said, answer.reason, answer.details) == (body.decode("utf-8", "replace"), "", {})
    told = as_ours(answer, "GET /version")
    assert type(told) is PlatformAway
    assert answer.said in str(told)


def test_an_object_says_why_in_the_clusters_words() -> None:
    answer = Answered(
        404, b'{"message": "namespaces \\"a\\" not found", "reason": "NotFound", "details": {"kind": "namespaces", "name": "a"}}'
    )
    assert (answer.said, answer.reason) == ('namespaces "a" not found', "NotFound")
    told = as_ours(answer, "POST /apis/batch/v1")
    assert type(told) is BadInput
    assert "kubectl create namespace a" in told.way_out


def test_details_that_are_no_object_are_none() -> None:
    assert Answered(404, b'{"message": "gone", "details": ["namespaces"]}').details == {}
