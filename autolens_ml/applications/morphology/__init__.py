"""What dark matter is made of, from images of lenses: classes, anomalies, and the evidence."""
