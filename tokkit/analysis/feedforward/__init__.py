"""What the feed-forward layers hold: keys, values, concepts, experts."""
