"""Names that columns of images and labels usually have, the likeliest first."""

IMAGE_NAMES = (
    "image", "img", "pixel_values", "image_path", "file_path", "filepath", "path", "file_name", "filename", "file",
)  # fmt: skip
LABEL_NAMES = ("label", "labels", "class", "category", "target", "fine_label", "label_name", "class_name", "species")
# Names that come after these, in any spelling.
MORE_IMAGE_NAMES = (
    "image_name", "img_path", "img_name", "image_file", "image_filename", "picture", "photo", "jpg", "jpeg", "png",
    "image_id", "img_id", "id_code", "id",
)  # fmt: skip
MORE_LABEL_NAMES = ("cls", "class_id", "class_label", "category_name", "breed", "diagnosis")
# Fields of a column that holds several, such as {"bytes": ..., "path": ...}.
BYTES_NAMES, PATH_NAMES = ("bytes", "data", "image", "content", "encoded"), ("path", "file_name", "filename", "name")
