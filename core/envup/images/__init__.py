"""Images: the sources that make root file systems, the checks on their archives, and the store that keeps them."""
