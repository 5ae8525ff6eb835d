"""MediaPipe's two networks for faces: BlazeFace, which detects them, and the face mesh, which places their features."""
