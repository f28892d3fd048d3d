"""Templates for TensorFlow Serving (models, batching, Docker Compose), Prometheus and Grafana."""
