"""`transfer` for an afternoon of two CPU cores: networks of 26 layers at 48 px, and few steps.

Smaller would not do: at 32 px the last stage has a single pixel, and batch normalization one value an image to go by.
"""

from nfft.studies import transfer

STUDY = transfer.of(
    name="transfer-small",
    title="Pre-train, then fine-tune, in small: with and without batch normalisation",
    budget="Five hours of a slow CPU core.",
    depths=(26,),
    sides=(48,),
    pretraining={"epochs": 1.25, "batch_size": 64, "lr": 0.025, "threads": 1},
    shared={"steps": 100, "batch_size": 64, "evaluations": 1, "threads": 1},
)
