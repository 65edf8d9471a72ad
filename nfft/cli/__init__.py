"""The commands of `nfft`, one file each: the only room that reads a command line or prints."""
