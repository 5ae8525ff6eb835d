"""Data sets, splits and protocols; crops, augmentation, captions and batches."""
