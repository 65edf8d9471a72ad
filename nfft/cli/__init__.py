"""The commands of `nfft`, one file each: the only room that reads a command line or prints."""

# What each command is for, in the order of `nfft --help`. It stands here, so that the list is told without importing
# the commands.
COMMANDS = {
    "finetune": "Fine-tune a Normalizer-Free network on labelled images, as its authors did.",
    "compare": "Fine-tune with several methods and seeds, and set the outcomes side by side.",
    "study": "Answer a question by many runs: a table over networks, data and seeds.",
    "look": "Write a sheet of the first training images of a run, as the network will see them.",
    "evaluate": "Score a checkpoint on a task, preprocessed as it is stored.",
    "predict": "Name the most probable classes of pictures.",
    "push": "Put a run's network, card, results and plots on the Hub, as one commit.",
    "card": "Write a run's README.md anew; sections written by hand stay.",
    "merge": "Make a whole network of an adapter and its base, which is fetched by itself.",
    "soup": "Make one network of the weights of several runs, scored and written down as a run is.",
    "export": "Write a network as a file that runs without nfft, checked against torch.",
}
