"""Libraries are imported without a search for garbage, which goes on afterwards."""

import subprocess
import sys


def test_the_search_for_garbage_rests_and_goes_on() -> None:
    code = (
        "import gc; from nfft.cli.imports import lasting_imports\n"
        "with lasting_imports(): print(gc.isenabled())\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]
