"""A trained model for use outside: one module with all that an image goes through, read and written as a folder."""
