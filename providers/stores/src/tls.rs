//! The one TLS provider, for clients that take the process's own.

/// Makes ring the process's TLS provider, unless it has one.
pub fn install() {
    // An error says that there is one already, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
}
