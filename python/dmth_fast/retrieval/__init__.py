"""Packed binary codes: search, index and evaluation. Never imports the learning half."""
