"""Networks, fusion, losses and training that turn images into binary codes."""
