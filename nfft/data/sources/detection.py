"""Data for detection and segmentation, whose folders are no classes."""

from nfft.data.sources.listing import Folder
from nfft.data.sources.split_words import split_of
from nfft.errors import UserError
from nfft.text import shorten

# What the folder of all images is called beside that of what is in them: as for YOLO, VOC and programs that draw masks.
OF_IMAGES = frozenset({"images", "image", "imgs", "img", "jpegimages", "pictures"})
OF_OTHERS = frozenset({
    "labels", "annotations", "annotation", "masks", "mask", "segmentationclass", "segmentationobject", "segmentations",
    "imagesets", "bboxes", "boxes", "groundtruth", "gt", "xmls", "trimaps",
})  # fmt: skip


def check_classes_are_meant(root: Folder) -> None:
    """See that the folders of images right in one, or in its splits, are no such.

    Raises:
        UserError: naming them.
    """
    for top in (root, *(inside for inside in root.folders if split_of(inside.name))):
        images = next((inside for inside in top.folders if inside.name.lower() in OF_IMAGES and _is_flat(inside)), None)
        others = next((inside for inside in top.folders if inside.name.lower() in OF_OTHERS), None)
        if images is not None and others is not None:
            raise UserError(
                f"{shorten(top.path, 200)} has all images in {images.name}, and what is in them in {others.name}, as "
                "for detection or segmentation (YOLO, VOC). nfft learns one class an image: give each class a folder, "
                "or name a table with a column of paths and one of labels."
            )


def _is_flat(folder: Folder) -> bool:
    """Whether images lie right in a folder, or in splits of it."""
    inside = [each for each in folder.folders if each.holds_pictures]
    return bool(folder.pictures) or (bool(inside) and all(split_of(each.name) and each.pictures for each in inside))
