"""What the environment of this process says beside settings: the run of a pipeline that it is a step of, the
container engine and the authority somebody chose; and what processes that we start are given of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from edgeferry.errors import UsageError


@dataclass(frozen=True)
class PipelineRun:
    """The run of an Azure DevOps pipeline that we are a step of, by its predefined variables."""

    collection: str
    """Address of the organization, ending in `/`."""
    project: str
    build: str
    stage: str
    token: str = field(repr=False)
    """The run's own access token."""


@dataclass(frozen=True)
class GitHubRun:
    """The run of a GitHub workflow that we are a step of, by its default variables."""

    server: str
    api: str
    """Addresses, without `/` at their end."""
    repository: str
    """OWNER/NAME."""
    id: str
    environment: str
    """The environment of our job, which GitHub does not tell its steps: the workflow does."""
    token: str = field(repr=False)
    """The run's own token."""


def child_environment() -> dict[str, str]:
    """The environment for processes we start: this one's, without what would slow or mislead them."""
    return {k: v for k, v in os.environ.items() if k not in {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}}


def read_pipeline_run() -> PipelineRun:
    """The Azure DevOps run around us; UsageError, naming what is missing, where there is none."""
    names = ("SYSTEM_COLLECTIONURI", "SYSTEM_TEAMPROJECT", "BUILD_BUILDID", "SYSTEM_STAGENAME")
    secret = "SYSTEM_ACCESSTOKEN"
    missing = [name for name in (*names, secret) if not os.environ.get(name)]
    if missing:
        raise UsageError(
            f"this is no step of an Azure DevOps pipeline that may ask about it: no {', '.join(missing)}",
            fix=f"run it in one, with {secret}: $(System.AccessToken) in the step's env",
        )
    collection, project, build, stage = (os.environ[name] for name in names)
    return PipelineRun(collection.rstrip("/") + "/", project, build, stage, os.environ[secret])


def read_github_run() -> GitHubRun:
    """The GitHub run around us; UsageError, naming what is missing, where there is none."""
    names = ("GITHUB_SERVER_URL", "GITHUB_API_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    mapped = ("APPROVAL_ENVIRONMENT", "GITHUB_TOKEN")
    missing = [name for name in (*names, *mapped) if not os.environ.get(name)]
    if missing:
        raise UsageError(
            f"this is no step of a GitHub workflow that may ask about it: no {', '.join(missing)}",
            fix="run it in one, with APPROVAL_ENVIRONMENT, the name of the job's environment, and "
            "GITHUB_TOKEN: ${{ github.token }} in the step's env",
        )
    server, api, repository, run, environment, token = (os.environ[name] for name in (*names, *mapped))
    return GitHubRun(server.rstrip("/"), api.rstrip("/"), repository, run, environment, token)


def default_engine_host() -> str:
    """What DOCKER_HOST says, or ""."""
    return os.environ.get("DOCKER_HOST", "")


def chosen_authority() -> str:
    """The address of the Microsoft Entra authority that somebody chose for azure-identity, or ""."""
    return os.environ.get("AZURE_AUTHORITY_HOST", "")
