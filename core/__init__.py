"""What every folder uses: errors, files, texts, tables, statistics; imports nothing of ours."""
