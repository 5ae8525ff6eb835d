"""The Live tab: faces tracked in the camera stream."""
