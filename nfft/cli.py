"""The `nfft` command: a word for what to do, then that command's own arguments."""

import importlib
import sys

COMMANDS = {
    "finetune": "fine-tune a network on labelled images, score it, and write its run folder",
    "look": "write a sheet of augmented training images with their classes",
}


def main() -> int:
    """Hand over to the command that was named; nothing heavy is imported before that."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name == "--version":
        from nfft import __version__

        print(f"nfft {__version__}")
        return 0
    if name in ("-h", "--help"):
        print("usage: nfft COMMAND ...\n\ncommands:")
        print("\n".join(f"  {command:10} {purpose}" for command, purpose in COMMANDS.items()))
        print("\n`nfft COMMAND --help` lists a command's arguments.")
        return 0
    if name not in COMMANDS:
        from nfft.errors import nearest

        print(f"nfft: unknown command {name!r}; {nearest(name, COMMANDS)}", file=sys.stderr)
        return 2
    return importlib.import_module(f"nfft.{name}").main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
