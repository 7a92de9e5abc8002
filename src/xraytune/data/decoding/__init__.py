"""From the bytes of one file to gray pixels, and of many files at once."""
