"""The `nfft` command: a word for what to do, then that command's own arguments."""

import importlib
import sys

# Each command: its function, and what it is for.
COMMANDS = {
    "finetune": ("finetune.main", "fine-tune a network on labelled images, score it, and write its run folder"),
    "compare": ("compare.main", "fine-tune with several methods and seeds, and set the outcomes side by side"),
    "study": ("experiment.main", "answer a question by many runs: a table over networks, data and seeds"),
    "look": ("look.main", "write a sheet of augmented training images with their classes"),
    "evaluate": ("evaluation.main", "score a checkpoint on a task"),
    "predict": ("prediction.main", "name the most probable classes of pictures"),
    "push": ("publish.push_main", "put a run's network, card and results on the Hub"),
    "merge": ("merge.main", "make a whole network of an adapter and its base"),
    "export": ("export.main", "write a network for onnxruntime or torch.export, checked, and in int8 if asked"),
    "card": ("publish.card_main", "write a run's card anew, keeping what was written by hand"),
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
        print("\n".join(f"  {command:10} {purpose}" for command, (_, purpose) in COMMANDS.items()))
        print("\n`nfft COMMAND --help` lists a command's arguments.")
        return 0
    if name not in COMMANDS:
        from nfft.errors import nearest

        print(f"nfft: unknown command {name!r}; {nearest(name, COMMANDS)}", file=sys.stderr)
        return 2
    module, function = COMMANDS[name][0].split(".")
    return getattr(importlib.import_module(f"nfft.{module}"), function)(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
