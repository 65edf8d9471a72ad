"""What `accelerate launch` and `torchrun` start, by its path or with -m: the command `nfft finetune`.

accelerate launch nfft/finetune.py --task digits
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's own folder comes first among those that modules are looked up in: rooms of this one, such as
    # nfft/data, are not to be taken for packages of that name.
    here = str(Path(__file__).parent)
    sys.path[:] = [entry for entry in sys.path if entry != here]

    from nfft.cli.ending import as_process
    from nfft.cli.finetune import main

    sys.exit(as_process(main))
