"""The `nfft` command: a word for what to do, then that command's own arguments."""

import importlib
import sys

from nfft import __version__
from nfft.cli import COMMANDS
from nfft.cli.ending import as_process
from nfft.errors import nearest


def main() -> int:
    """Be the command that was named, from its start to the end of this process."""
    return as_process(hand_over)


def hand_over() -> int:
    """Do the command that was named; nothing heavy is imported before that."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name == "--version":
        print(f"nfft {__version__}")
        return 0
    if name in ("-h", "--help"):
        print("usage: nfft COMMAND ...\n\ncommands:")
        for command, purpose in COMMANDS.items():
            print(f"  {command:10} {purpose}")
        print("\n`nfft COMMAND --help` lists a command's arguments.")
        return 0
    if name not in COMMANDS:
        print(f"nfft: unknown command {name!r}; {nearest(name, COMMANDS)}", file=sys.stderr)
        return 2
    return importlib.import_module(f"nfft.cli.{name}").main(sys.argv[2:])
