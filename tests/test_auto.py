"""AutoNFNet takes pictures as people have them and answers as people expect."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nfft
from nfft.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


@pytest.fixture(scope="module")
def nano() -> nfft.AutoNFNet:
    return nfft.AutoNFNet.from_pretrained("nfnet-nano")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_is_ready_to_predict(nano: nfft.AutoNFNet) -> None:
    assert not nano.training
    assert len(nano.labels) == 200
    image = nano.transform(Image.fromarray(PIXELS))
    assert image.shape == (3, 48, 48) and image.dtype == torch.float32
    with torch.no_grad():
        assert nano(image[None]).shape == (1, 200)


def test_one_picture_in_every_form_has_one_answer(nano: nfft.AutoNFNet, photo: Path) -> None:
    forms = [photo, str(photo), photo.read_bytes(), Image.fromarray(PIXELS), PIXELS]
    answers = [nano.predict(form, top_k=3) for form in forms]
    assert all(answer == answers[0] for answer in answers)
    labels, scores = ([each[key] for each in answers[0]] for key in ("label", "score"))
    assert len(labels) == 3 and scores == sorted(scores, reverse=True)
    with torch.no_grad():
        wanted = nano(nano.transform(Image.fromarray(PIXELS))[None]).softmax(1)[0]
    assert labels[0] == nano.labels[int(wanted.argmax())]
    assert scores[0] == pytest.approx(float(wanted.max()))


def test_what_the_network_sees_is_what_transform_makes(nano: nfft.AutoNFNet) -> None:
    seen: list[torch.Tensor] = []
    list(nano._answers([PIXELS], 1, lambda pixels: seen.append(pixels) or pixels))
    assert torch.equal(seen[0][0], nano.transform(Image.fromarray(PIXELS)))


def test_by_name_in_one_call(nano: nfft.AutoNFNet, photo: Path) -> None:
    assert nfft.predict(photo, "nfnet-nano", top_k=3) == nano.predict(photo, top_k=3)
    assert nfft.predict([photo, PIXELS], "nfnet-nano") == nano.predict([photo, PIXELS])


def test_evaluated_in_one_call(checkpoint: Path, image_folder: Callable[..., Path]) -> None:
    folder = image_folder(classes="abcdefg", images=4)
    evaluation = nfft.evaluate(checkpoint, folder, split="validation", resolution=64, validation_fraction=0.5)
    assert evaluation.task.name == "photos" and evaluation.model.name == "net"
    assert (evaluation.scores.split, evaluation.scores.count, evaluation.resolution) == ("validation", 14, 64)
    model, task = nfft.AutoNFNet.from_pretrained(checkpoint), nfft.Task(name="all of them", source=str(folder))
    scores = nfft.evaluate(checkpoint, task, split="all").scores
    files = sorted(folder.glob("*/*.png"))
    right = [model.predict(file, top_k=1)[0]["label"] == file.parent.name for file in files]
    assert scores.count == len(files) and scores.top1 == pytest.approx(np.mean(right))
    with pytest.raises(UserError, match="the task has no setting 'labels'; did you mean 'label'"):
        nfft.evaluate(checkpoint, folder, labels="species")


def test_in_half_precision(nano: nfft.AutoNFNet, photo: Path) -> None:
    wanted = nano.predict(photo, top_k=1)
    half = nfft.AutoNFNet.from_pretrained("nfnet-nano").bfloat16()
    (best,) = half.predict(photo, top_k=1)
    assert best["score"] == pytest.approx(wanted[0]["score"], abs=0.05)


def test_several_pictures_have_a_list_each(nano: nfft.AutoNFNet, photo: Path) -> None:
    alone = nano.predict(photo, top_k=2)
    for several in ([photo, PIXELS], np.stack([PIXELS, PIXELS]), (Image.fromarray(PIXELS), str(photo))):
        found = nano.predict(several, top_k=2, batch_size=1)
        assert len(found) == 2 and found[0] == found[1] == alone
    assert nano.predict([]) == []
    assert nano.predict([photo]) == [nano.predict(photo)]


def test_top_k_is_at_most_the_classes(nano: nfft.AutoNFNet) -> None:
    assert len(nano.predict(PIXELS, top_k=1000)) == 200
    assert sum(each["score"] for each in nano.predict(PIXELS, top_k=1000)) == pytest.approx(1)
    with pytest.raises(UserError, match="top_k must be at least 1; got 0"):
        nano.predict(PIXELS, top_k=0)


def test_features_are_what_the_classifier_sees(nano: nfft.AutoNFNet) -> None:
    features = nano.features([PIXELS, PIXELS[::-1]])
    assert features.shape == (2, 288) and nano.features(PIXELS).shape == (288,)
    assert nano.features([]).shape == (0, 288)
    logits = nano.network.get_classifier()(features)
    with torch.no_grad():
        torch.testing.assert_close(logits[:1], nano(nano.transform(Image.fromarray(PIXELS))[None]))


def test_a_new_head(nano: nfft.AutoNFNet) -> None:
    torch.manual_seed(0)
    fresh = nfft.AutoNFNet.from_pretrained("nfnet-nano", num_classes=200)
    assert fresh.labels == [str(number) for number in range(200)]
    weight = fresh.network.get_classifier().weight.detach()
    assert weight.std().item() == pytest.approx(0.01, rel=0.02)
    body = {name: tensor for name, tensor in fresh.network.state_dict().items() if "head" not in name}
    assert all(torch.equal(nano.network.state_dict()[name], tensor) for name, tensor in body.items())
    with pytest.raises(UserError, match="num_classes must be at least 1"):
        nfft.AutoNFNet.from_pretrained("nfnet-nano", num_classes=0)


def test_saved_and_loaded_again(nano: nfft.AutoNFNet, tmp_path: Path) -> None:
    nano.save_pretrained(tmp_path / "new" / "folder")
    again = nfft.AutoNFNet.from_pretrained(tmp_path / "new" / "folder")
    assert again.labels == nano.labels
    assert again.predict(PIXELS) == nano.predict(PIXELS)


def test_pictures_come_in_many_forms(nano: nfft.AutoNFNet, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(PIXELS).save(path)
    (wanted,) = nano.predict([PIXELS])
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1)
    with path.open("rb") as file:
        for one in (
            path,
            str(path),
            path.read_bytes(),
            io.BytesIO(path.read_bytes()),
            file,
            tensor,
            bytearray(path.read_bytes()),
        ):
            assert nano.predict(one) == wanted, type(one)
    several = [
        (PIXELS for _ in range(3)),
        iter([str(path)] * 3),
        (PIXELS,) * 3,
        tensor.repeat(3, 1, 1, 1),
        [tensor] * 3,
    ]
    for many in several:
        # In batches of another size, some products are rounded otherwise.
        for classes in nano.predict(many, batch_size=2):
            assert [one["label"] for one in classes] == [one["label"] for one in wanted], type(many)
            assert [one["score"] for one in classes] == pytest.approx([one["score"] for one in wanted], abs=1e-6)
    gray = PIXELS[..., :1]
    assert nano.predict(gray) == nano.predict(gray[..., 0]) == nano.predict(torch.from_numpy(gray[..., 0])[None])
    clear = np.dstack([PIXELS, np.zeros_like(gray)])
    assert nano.predict(clear) == nano.predict(np.full_like(PIXELS, 255))
    assert nano.predict(iter([])) == []


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        ("nowhere.jpg", "nowhere.jpg cannot be read"),
        (b"", "given as bytes cannot be read: the file is empty"),
        (PIXELS.astype(np.float32), "given as ndarray cannot be read: its values are float32, not uint8"),
        (b"not an image", "cannot identify image file"),
        (np.zeros((4, 4, 7), np.uint8), r"got ndarray of uint8 and shape \(4, 4, 7\)"),
        (torch.zeros(3, 4, 4), r"expected .*uint8 tensor.*; got Tensor of float32 and shape \(3, 4, 4\)"),
        (torch.zeros(8, 4, 3, dtype=torch.uint8), r"got Tensor of uint8 and shape \(8, 4, 3\)"),
        (7, "expected an image file .*, or several of them; got int"),
        ({"image": "photo.jpg"}, "or several of them; got dict"),
        ([None], "expected an image file .*; got NoneType"),
        (io.StringIO("text"), "expected a file opened in binary"),
    ],
)
def test_what_is_no_picture_is_named(nano: nfft.AutoNFNet, picture: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        nano.predict(picture)


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown model 'nfnet-naon'; did you mean 'nfnet-nano'"):
        nfft.AutoNFNet.from_pretrained("nfnet-naon")
    with pytest.raises(UserError, match=r"config.json is missing"):
        nfft.AutoNFNet.from_pretrained(tmp_path)


def test_timms_weights_without_names_have_those_of_imagenet(tmp_path: Path) -> None:
    import json

    import timm
    from safetensors.torch import save_file

    network = timm.create_model("test_nfnet", num_classes=1000)
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    config = {
        "architecture": "test_nfnet",
        "num_classes": 1000,
        "pretrained_cfg": {
            "input_size": [3, 32, 32], "test_input_size": [3, 64, 64], "mean": [0.5] * 3, "std": [0.5] * 3,
            "crop_pct": 0.9, "crop_mode": "center", "interpolation": "bicubic",
        },
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = nfft.AutoNFNet.from_pretrained(tmp_path)
    assert loaded.labels[0].startswith("tench") and len(loaded.labels) == 1000
    assert loaded.transform(Image.fromarray(PIXELS)).shape == (3, 64, 64), "evaluated at its test size"


def test_predictions_follow_weights_that_have_changed(checkpoint: Path) -> None:
    model = nfft.AutoNFNet.from_pretrained(checkpoint)
    picture = PIXELS
    before = model.features(picture)
    assert model.folded() is model.folded()
    with torch.no_grad():
        model.network.stem.conv1.weight.mul_(torch.rand_like(model.network.stem.conv1.weight))
    after = model.features(picture)
    assert not torch.equal(before, after)
    with torch.no_grad():
        expected = model.network.forward_head(
            model.network.forward_features(model.transform(Image.fromarray(picture))[None]), pre_logits=True
        )
    torch.testing.assert_close(after, expected[0], rtol=1e-4, atol=1e-5)
    assert not any("folded" in name for name in model.state_dict())


def test_fold_is_to_be_had_from_the_package(checkpoint: Path) -> None:
    model = nfft.AutoNFNet.from_pretrained(checkpoint)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(nfft.fold(model.network)(images), model(images), rtol=1e-4, atol=1e-5)
