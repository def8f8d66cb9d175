"""Errors as the service tells them."""

from __future__ import annotations


class AwsError(Exception):
    """`code` goes into `__type`; `fields` beside the message."""

    def __init__(self, code: str, message: str, status: int = 400, **fields: object) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.fields = code, message, status, fields


def invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)


def not_found(what: str, arn: str = "") -> AwsError:
    """SageMaker has no error of its own for most things that are not there: it says ValidationException."""
    return invalid(f'Could not find {what} "{arn}".' if arn else "Requested resource not found.")


def in_use(message: str) -> AwsError:
    return AwsError("ResourceInUse", message)


def over_limit(what: str, limit: int, used: int, more: int) -> AwsError:
    return AwsError(
        "ResourceLimitExceeded",
        f"The account-level service limit '{what}' is {limit} Instances, with current utilization of {used} Instances and a request "
        f"delta of {more} Instances. Please use AWS Service Quotas to request an increase for this quota. If AWS Service Quotas is "
        "not available, contact AWS support to request an increase for this quota.",
    )
