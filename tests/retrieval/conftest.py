"""Hypothesis without deadlines: how long an example takes depends on who else uses the machine."""

import os

from hypothesis import settings

settings.register_profile("dmth_fast", deadline=None, max_examples=50)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dmth_fast"))
