"""What is drawn on pictures: boxes, labels and bars, and copies without faces."""
