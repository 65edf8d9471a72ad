"""Networks: checkpoints by name, checked, built, adapted and saved."""
