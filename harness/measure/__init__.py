"""Loss, generation, speed and memory."""
