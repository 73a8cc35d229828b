"""Pictures in, detections out: loading, fitting, decoding, suppression, drawing; `detector` joins it to a session."""
