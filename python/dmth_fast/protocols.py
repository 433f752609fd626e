"""Named evaluation protocols: seeded splits with a hash, near-duplicates, and baselines for every table.

>>> import numpy as np
>>> from dmth_fast import protocols
>>> protocols.make_split("folder:0.5", {"all": np.array([0, 0, 1, 1])}).sizes()
{'query': 2, 'database': 2, 'train': 2}
"""

from dmth_fast.retrieval.baselines import one_hot_codes as one_hot_codes
from dmth_fast.retrieval.baselines import random_codes as random_codes
from dmth_fast.retrieval.duplicates import NearDuplicates as NearDuplicates
from dmth_fast.retrieval.duplicates import near_duplicate_codes as near_duplicate_codes
from dmth_fast.retrieval.duplicates import near_duplicates as near_duplicates
from dmth_fast.retrieval.duplicates import perceptual_codes as perceptual_codes
from dmth_fast.retrieval.protocols import ALIASES as ALIASES
from dmth_fast.retrieval.protocols import PROTOCOLS as PROTOCOLS
from dmth_fast.retrieval.protocols import Split as Split
from dmth_fast.retrieval.protocols import labels_digest as labels_digest
from dmth_fast.retrieval.protocols import make_split as make_split

__all__ = [
    "ALIASES",
    "PROTOCOLS",
    "NearDuplicates",
    "Split",
    "labels_digest",
    "make_split",
    "near_duplicate_codes",
    "near_duplicates",
    "one_hot_codes",
    "perceptual_codes",
    "random_codes",
]
