"""Photo → faces → aligned crops: opening images, detecting faces, aligning them."""
