"""One file a task; `nfft.config.registry` finds them by name."""

# The note of a task whose repository could not be looked at when its file was written.
UNTRIED = (
    "Columns, splits and their sizes are as the dataset's public card and code have them; not yet tried against the "
    "Hub itself."
)
