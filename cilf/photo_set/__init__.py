"""Many photos at once: from files and folders, through worker processes, into one table."""
