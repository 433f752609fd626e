"""The twenty superclasses of CIFAR-100 (Krizhevsky 2009), five classes each."""

import torch
from torch import Tensor

from dmth_fast.learning.data import ImageSet

__all__ = ["SUPERCLASSES", "graded_labels"]

SUPERCLASSES: dict[str, tuple[str, ...]] = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
"""The classes of each superclass, both in alphabetical order."""


def graded_labels(images: ImageSet) -> Tensor:
    """Class and superclass as two labels of each image: cosines are 1, 1/2 (same superclass) or 0.

    Returns:
        bool (n, 120): 100 classes in alphabetical order, then the 20 superclasses.

    Raises:
        ValueError: no labels, or classes that are not those of CIFAR-100.
    """
    known = {name: number for number, names in enumerate(SUPERCLASSES.values()) for name in names}
    if set(images.classes) != set(known):
        unknown = sorted(set(images.classes) ^ set(known))
        raise ValueError(
            f"images must have the 100 classes of CIFAR-100, {len(unknown)} differ: {unknown[:3]}"
        )
    labels = images.required_labels("a superclass")
    groups = torch.tensor([known[name] for name in images.classes])[labels]
    fine = torch.nn.functional.one_hot(labels, 100)
    coarse = torch.nn.functional.one_hot(groups, len(SUPERCLASSES))
    return torch.cat([fine, coarse], 1).bool()
