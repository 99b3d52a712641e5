"""Azure Container Registry's names and commands."""

from __future__ import annotations

import pytest

from edgeferry.wire.acr import is_azure, registry_name, render_creation, render_deletion


@pytest.mark.parametrize(
    ("host", "azure"),
    [
        ("contoso.azurecr.io", True),
        ("Contoso.AzureCR.io:443", True),
        ("contoso.azurecr.cn", True),
        ("127.31.1.1:5443", False),
        ("azurecr.io.example.org", False),
        ("contosoazurecr.io", False),
        ("x.azurecr.io:443@example.org", False),
        ("example.org/x.azurecr.io", False),
        ("example.org?x.azurecr.io", False),
    ],
)
def test_azures_hosts_are_known(host: str, azure: bool) -> None:
    assert is_azure(host) is azure


@pytest.mark.parametrize("host", ["contoso.azurecr.io", "contoso-abc123.azurecr.io", "CONTOSO.azurecr.io"])
def test_the_resources_name_is_in_the_host(host: str) -> None:
    assert registry_name(host) == "contoso"


def test_the_commands_make_a_token_that_only_reads_these_repositories() -> None:
    assert render_creation("contoso.azurecr.io", "berlin", ["edgeferry/a", "edgeferry/b"]) == (
        "az acr scope-map create --name berlin --registry contoso "
        "--repository edgeferry/a content/read metadata/read "
        "--repository edgeferry/b content/read metadata/read",
        "az acr token create --name berlin --registry contoso --scope-map berlin",
    )


def test_a_token_is_deleted_with_its_scope_map() -> None:
    assert render_deletion("contoso.azurecr.io", "berlin") == (
        "az acr token delete --name berlin --registry contoso",
        "az acr scope-map delete --name berlin --registry contoso",
    )
