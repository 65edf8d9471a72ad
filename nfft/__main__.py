"""`python -m nfft` is `nfft`."""

import sys

from nfft.cli.main import main

sys.exit(main())
