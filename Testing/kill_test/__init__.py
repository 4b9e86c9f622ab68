"""A batch whose processes, and which itself, are killed at random moments: nothing may be lost or done twice."""
