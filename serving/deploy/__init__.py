"""Templates for TensorFlow Serving: models, batching, monitoring, Docker Compose."""
