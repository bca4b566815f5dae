"""What `nimble-cli check` is made of: trials on a sliver of data, and what they say about each method."""
