"""Training, measuring and releasing the face detector."""
