//! State in a PostgreSQL database.
