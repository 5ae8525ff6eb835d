"""The Photo set tab: many photos in, a gallery and a table out."""
