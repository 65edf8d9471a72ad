"""Networks: found, checked, built, changed, saved."""
