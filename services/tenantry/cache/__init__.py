"""The exact answer cache: complete answers, found again in exactly the scope they were made in."""
