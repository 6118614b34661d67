//! A Kubernetes operator for isolated PostgreSQL schemas.
