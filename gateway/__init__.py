"""What we owe our callers: one picture and one prompt in, the same masks out, whoever made them."""
