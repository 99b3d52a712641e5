"""What written pipelines ask of their platform."""

from __future__ import annotations

import pytest

from edgeferry.wire.ci_needs import find_needs


@pytest.mark.parametrize(
    ("platform", "text", "needs"),
    [
        pytest.param("github", "jobs:\n  build:\n    runs-on: ubuntu\n", {}, id="nothing"),
        pytest.param(
            "github",
            "    environment: edgeferry-prod\n    A: ${{ vars.AZURE_CLIENT_ID }}\n    B: ${{ secrets.KEY }}\n"
            "    C: ${{ secrets.GITHUB_TOKEN }}\n    D: ${{ secrets.KEY }}\n",
            {"environment": ("edgeferry-prod",), "variable": ("AZURE_CLIENT_ID",), "secret": ("KEY",)},
            id="each name once, what GitHub has itself not at all",
        ),
        pytest.param(
            "azure-devops",
            "variables:\n- group: edgeferry-prod\n  environment: edgeferry-prod\n    azureSubscription: con\n"
            "    serviceConnection: con\n",
            {
                "environment": ("edgeferry-prod",),
                "variable group": ("edgeferry-prod",),
                "service connection": ("con",),
            },
            id="Azure DevOps",
        ),
    ],
)
def test_what_pipelines_need_is_read_from_their_text(platform, text, needs):
    assert find_needs(platform, [text]) == needs
