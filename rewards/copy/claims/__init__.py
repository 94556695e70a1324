"""What a copy claims and its brief says: words, numbers, facts, and how they are joined."""
