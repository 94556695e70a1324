"""What trainers and environments of other projects can use of ours; each module is one of them."""
