"""The `nfft` command: a word for what to do, then that command's own arguments."""

import importlib
import sys

# Where each command is: a module with its PURPOSE, `parser` and `main`.
COMMANDS = {
    "finetune": "nfft.finetune",
    **{
        name: f"nfft.commands.{name}"
        for name in ("compare", "study", "look", "evaluate", "predict", "push", "card", "merge", "export")
    },
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
        for command, module in COMMANDS.items():
            print(f"  {command:10} {importlib.import_module(module).PURPOSE}")
        print("\n`nfft COMMAND --help` lists a command's arguments.")
        return 0
    if name not in COMMANDS:
        from nfft.errors import nearest

        print(f"nfft: unknown command {name!r}; {nearest(name, COMMANDS)}", file=sys.stderr)
        return 2
    return importlib.import_module(COMMANDS[name]).main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
