"""The problems that come with Limbeck, one file each: equation, domain, conditions, reference."""
