//! What the gateway grants a client.

use std::time::Duration;

/// Limits of the data plane. The defaults suit a gateway that strangers can reach.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a request's head may take to arrive, and how long a connection may idle between requests.
    pub header_timeout: Duration,
    /// The size of a request's head in bytes, at least 8192.
    pub header_bytes: usize,
    /// The number of header lines.
    pub headers: usize,
    /// The size of a body that must be read whole to find its model.
    pub buffered_body: u64,
    /// The size of any other request body.
    pub body: u64,
    /// The longest silence within a request body.
    pub body_idle: Duration,
    /// The bytes per second a body must come with, once it made us wait for [`Limits::body_idle`] in total.
    pub body_rate: u64,
    /// How long connecting to an upstream may take.
    pub connect_timeout: Duration,
    /// The longest silence of an upstream, before or within its answer. Never under 30 minutes in production: long
    /// prompts and reasoning are silent for long.
    pub response_idle: Duration,
    /// How long a client may take nothing of its answer while more of it waits. Never under 30 minutes in production: a
    /// client may rightly do something else meanwhile.
    pub write_idle: Duration,
    /// Connections of clients that are open at once; more wait in the kernel's queue.
    pub connections: usize,
    /// Connections of one client address (IPv6: of one /64) that are open at once; more are refused. Programs on this
    /// machine are not limited: they all have the same address.
    pub connections_per_peer: usize,
    /// The bytes of all bodies together that are read whole to find their models; more are refused.
    pub buffered_bodies: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(60),
            header_bytes: 64 * 1024,
            headers: 100,
            buffered_body: 32 * 1024 * 1024,
            body: 1024 * 1024 * 1024,
            body_idle: Duration::from_secs(30),
            body_rate: 1024,
            connect_timeout: Duration::from_secs(5),
            response_idle: Duration::from_secs(60 * 60),
            write_idle: Duration::from_secs(60 * 60),
            connections: 8192,
            connections_per_peer: 1024,
            buffered_bodies: 256 * 1024 * 1024,
        }
    }
}
