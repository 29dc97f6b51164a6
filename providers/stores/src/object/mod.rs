//! State in object storage: S3 and what is compatible with it.
