import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "libraries", "most"),
    [
        pytest.param(
            "server",
            {"_cython_3_3_0", "cython_runtime", "httptools", "msgspec", "typing_extensions"},
            41,
            id="model server",
        ),
        pytest.param("companion", {"paho"}, 37, id="companion"),
    ],
)
def test_what_an_image_must_hold_stays_small(module, libraries, most):
    code = f"""
import sys
before = set(sys.modules)
import edgeferry.device.modules.{module}
roots = {{name.partition('.')[0] for name in set(sys.modules) - before}}
print(*sorted(roots - set(sys.stdlib_module_names) - {{'edgeferry', '__mp_main__'}}))
print(len([name for name in sys.modules if name.partition('.')[0] == 'edgeferry']))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, count = ran.stdout.splitlines()
    assert set(found.split()) <= libraries
    assert int(count) <= most
