"""What holds for all tests."""

import hypothesis

# The same examples at every run, however busy the machine is.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("house")
