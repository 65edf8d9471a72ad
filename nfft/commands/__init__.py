"""The commands of `nfft`, each in the file that bears its name.

`finetune` is beside this folder, in nfft/finetune.py: launchers start it by its path.
"""
