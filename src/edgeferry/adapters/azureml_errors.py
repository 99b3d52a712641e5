"""What the exceptions of Azure's SDK mean, as errors of ours: problem and fix, nothing secret in either."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from edgeferry.errors import EdgeferryError, PlaceError, UsageError

_SECRETS = re.compile(r"(?i)(\bsig=|\bsv=|bearer\s+|accountkey=|\beyJ)[^\s&'\"]+")
_LONGEST = 500
_BUSY = (408, 429, 500, 502, 503, 504)


@contextmanager
def translated(workspace: str) -> Iterator[None]:
    """Turns what Azure's SDK raises into ours; what is neither of both is a bug and stays as it is."""
    try:
        yield
    except EdgeferryError:
        raise
    except Exception as error:
        ours = translate(error, workspace)
        if ours is None:
            raise
        raise ours from error


def translate(error: Exception, workspace: str) -> EdgeferryError | None:
    """The error of ours that says what `error` says; None when it is not the SDK's."""
    from azure.ai.ml.exceptions import MlException, ValidationException
    from azure.core.exceptions import (
        AzureError,
        ClientAuthenticationError,
        HttpResponseError,
        IncompleteReadError,
        ServiceRequestError,
        ServiceResponseError,
    )
    from marshmallow import ValidationError

    said = clean(str(getattr(error, "message", "") or error))
    if isinstance(error, ClientAuthenticationError):
        return PlaceError(
            f"Azure does not accept this login for the workspace {workspace}: {said}",
            fix="az login, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and a secret or certificate",
        )
    if isinstance(error, HttpResponseError):
        return _translate_answer(error.status_code or 0, said, workspace)
    if isinstance(error, ServiceRequestError | ServiceResponseError | IncompleteReadError):
        return PlaceError(
            f"Azure ML does not answer: {said}", fix="check the network and the proxy", retryable=True
        )
    if isinstance(error, MlException):
        if isinstance(error.__cause__, HttpResponseError):
            return translate(error.__cause__, workspace)
        if isinstance(error, ValidationException):
            return UsageError(
                f"Azure ML's client refuses the job: {said}", fix="correct the pipeline's files"
            )
        return PlaceError(f"Azure ML: {said}", fix="try again; edgeferry runs show RUN says where it stands")
    if isinstance(error, ValidationError):
        return UsageError(f"Azure ML's client refuses the job: {said}", fix="correct the pipeline's files")
    if isinstance(error, AzureError):
        return PlaceError(f"Azure ML: {said}", fix="try again", retryable=True)
    return None


def clean(text: str) -> str:
    """The text on one line, without signatures and tokens, not endless."""
    line = " ".join(_SECRETS.sub(r"\1********", text).split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + " …"


def _translate_answer(status: int, said: str, workspace: str) -> EdgeferryError:
    if status in _BUSY:
        return PlaceError(f"Azure ML answers {status}: {said}", fix="try again in a while", retryable=True)
    fix = {
        401: "az login",
        403: f"give this login the role {_missing_role(said, workspace)}",
        404: "check azure.subscription_id, azure.resource_group and azure.workspace",
    }.get(status, "correct what Azure names")
    return PlaceError(f"Azure ML answers {status}: {said}", fix=fix)


def _missing_role(said: str, workspace: str) -> str:
    """The least role that allows what Azure refused, and the resource to give it on."""
    if re.search(r"/computes/(?:write|delete|\w+/action)", said, re.IGNORECASE):
        return f"AzureML Compute Operator on the workspace {workspace}, or name a compute that is there"
    if "AuthorizationPermissionMismatch" in said or "Microsoft.Storage/" in said:
        return f"Storage Blob Data Contributor on the storage account of the workspace {workspace}"
    return f"AzureML Data Scientist on the workspace {workspace}"
