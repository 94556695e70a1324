"""Files and folders that are whole or not there, locks, checksums, and who wrote what."""
