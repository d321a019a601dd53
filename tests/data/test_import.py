import subprocess
import sys

import nnfast.data


def test_importing_the_package_imports_none_of_the_extras():
    # Another interpreter: in this one the tests have imported them.
    code = (
        "import sys; before = set(sys.modules); import nnfast.data; "
        "print(*({'PIL', 'pooch', 'requests', 'tqdm', 'sklearn', 'matplotlib'} & (set(sys.modules) - before)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.split() == []


def test_every_listed_name_is_there():
    assert sorted(nnfast.data.__all__, key=str.lower) == sorted(set(nnfast.data.__all__), key=str.lower)
    for name in nnfast.data.__all__:
        assert hasattr(nnfast.data, name)
