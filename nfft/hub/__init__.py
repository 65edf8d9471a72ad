"""HTTP with the Hugging Face Hub: fetch, push, and what went wrong in words."""
