"""The run's token goes to the run's own organization, as git itself reads it."""

from __future__ import annotations

import os
import subprocess

import pytest

from edgeferry.wire.azure_steps import GIT_LOGIN


def header_for(url: str) -> str:
    """What git would send to `url`, in a step of a run at dev.azure.com/contoso."""
    macros = {"$(System.CollectionUri)": "https://dev.azure.com/contoso/", "$(System.AccessToken)": "t0ken"}
    env = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    for name, text in GIT_LOGIN.items():
        for macro, value in macros.items():
            text = text.replace(macro, value)
        env[name] = text
    command = ["git", "config", "--get-urlmatch", "http.extraheader", url]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False).stdout.strip()


@pytest.mark.parametrize(
    "url",
    [
        "https://dev.azure.com/contoso/fleet/_git/ledger",
        pytest.param("https://contoso@dev.azure.com/contoso/fleet/_git/taxi", id="as Build.Repository.Uri"),
    ],
)
def test_git_logs_in_to_a_repository_of_the_organization(url: str) -> None:
    assert header_for(url) == "Authorization: bearer t0ken"


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/contoso/ledger",
        "https://dev.azure.com/another/fleet/_git/ledger",
        "http://dev.azure.com/contoso/fleet/_git/ledger",
    ],
)
def test_nobody_else_gets_the_token(url: str) -> None:
    assert header_for(url) == ""
