"""What the products of the large catalogue are made of: a module a trade, all of it made up."""
