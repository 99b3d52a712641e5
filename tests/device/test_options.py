import pytest

from edgeferry.device.options import load_rules
from edgeferry.domain.device_rules import Policy, Rules
from edgeferry.errors import UsageError


def test_a_device_whose_owner_said_nothing_has_the_defaults(tmp_path):
    assert load_rules(tmp_path) == Rules()


def test_what_the_owner_says_is_read(tmp_path):
    (tmp_path / "agent.toml").write_text(
        '[policy]\nhost_network = true\nmounts = ["/srv"]\n[pull]\nwindow = "22:00-05:00"\n'
        "bytes_per_s = 100\nprogress_s = 5\n[trial]\nwindow_s = 2.5\n"
    )
    rules = load_rules(tmp_path)
    assert rules.policy == Policy(host_network=True, mounts=("/srv",))
    assert (rules.pull.window, rules.pull.bytes_per_s, rules.pull.progress_s) == ("22:00-05:00", 100, 5.0)
    assert rules.trial.window_s == 2.5
    assert rules.trial.crashes == 3


@pytest.mark.parametrize(
    ("text", "problem", "fix"),
    [
        pytest.param("[polcy]", "polcy is no section", "did you mean policy", id="section"),
        pytest.param("[pull]\nwindo = ''", "pull.windo is no setting", "pull.window", id="key"),
        pytest.param("[pull]\nbytes_per_s = '1'", "pull.bytes_per_s is '1'", "whole number", id="text"),
        pytest.param("[pull]\nbytes_per_s = 1.5", "pull.bytes_per_s is 1.5", "whole number", id="fraction"),
        pytest.param("[trial]\nwindow_s = -1", "trial.window_s is -1", "0 or more", id="negative"),
        pytest.param("[trial]\ncrashes = true", "trial.crashes is True", "whole number", id="bool"),
        pytest.param("[policy]\nprivileged = 1", "policy.privileged is 1", "true or false", id="number"),
        pytest.param("[policy]\nmounts = '/a'", "mounts is not a list", "write mounts", id="no list"),
        pytest.param("policy = 1", "policy is not a section", "[policy]", id="no section"),
        pytest.param("[pull]\nwindow = '22-5'", "pull.window: `22-5` is no", "22:00-05:00", id="window"),
        pytest.param("[policy", "cannot be read", "correct the file", id="no toml"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, problem, fix):
    (tmp_path / "agent.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        load_rules(tmp_path)
    assert problem in caught.value.problem
    assert fix in caught.value.fix
