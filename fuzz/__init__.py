"""What strangers hand in, made up by the hundred thousand: refused in a sentence or read, soon and in little memory.

`python -m fuzz --cases 100000` in a clone; `tests/contracts/test_fuzz.py` takes some seconds of it.
"""
