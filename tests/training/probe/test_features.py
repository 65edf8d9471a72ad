"""Features of an earlier run are taken where all that is noted of them fits."""

import hashlib
import json
from pathlib import Path

import numpy as np
from damage import damaged

from nfft.distributed.accelerator import make_accelerator
from nfft.training.probe.features import Features, find_features

VALUES = np.arange(12, dtype=np.float16).reshape(4, 3)


def test_what_is_noted_wrong_is_as_good_as_nothing(tmp_path: Path) -> None:
    path, labels, facts = tmp_path / "train.npy", np.zeros(4, np.int64), {"network": "0a"}
    np.save(path, VALUES)
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    noted = {
        "key": key,
        "rows": 4,
        "seconds": 1.5,
        "hashes": [[2, hashlib.sha256(VALUES[:2].data).hexdigest()], [4, hashlib.sha256(VALUES[2:].data).hexdigest()]],
        "broken": [{"index": 1, "reason": "the file is empty"}],
    }

    def found(text: str) -> Features:
        path.with_suffix(".json").write_text(text)
        return find_features(path, labels, facts, make_accelerator("fp32"))

    whole = found(json.dumps(noted))
    assert (whole.rows, whole.readable.tolist(), whole.seconds) == (4, [0, 2, 3], 1.5)
    texts = [json.dumps(content) for content in damaged(noted)]
    rows = {found(text).rows for text in (*texts, "", "[" * 100_000, '{"rows": 1e999}')}
    assert rows == {0, 2, 4}
