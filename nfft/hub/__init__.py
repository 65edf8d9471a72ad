"""The Hugging Face Hub: download, upload, and its failures in words."""
