"""What a network says of images, and how good that is."""
