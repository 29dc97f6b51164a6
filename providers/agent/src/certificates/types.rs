//! What is said of certificates over the admin socket.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::protocol::Stored;

/// A host name of a gateway that is to have a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The host name, lower case; unique in one agent.
    pub host: String,
    /// The listener that serves it, which must speak HTTPS.
    pub gateway: String,
    /// The address, or the name of a machine, that the host name must lead to before a certificate is asked for.
    pub address: String,
    /// The URL of the ACME authority's directory.
    pub directory: String,
    /// The certificates in PEM that the authority itself is known by; `None` takes the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_certificate: Option<String>,
    /// Where the authority may write to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The DNS server that is asked where the host name leads; `None` takes the machine's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nameserver: Option<SocketAddr>,
    /// The zone of DNS that has the host name's record, where it is known. It says why a name leads nowhere that should: the
    /// world asks other name servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
}

/// A zone of DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Its name, `example.com`.
    pub name: String,
    /// What its provider calls it.
    pub id: String,
    /// The name servers that answer for it.
    pub name_servers: Vec<String>,
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// Who made it.
    pub issuer: String,
    /// Its serial number, in hexadecimal.
    pub serial_number: String,
    /// The first second it is good for, since 1970.
    pub not_before: u64,
    /// The last one.
    pub not_after: u64,
    /// The SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
}

/// How a certificate is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateReport {
    /// What is wanted.
    pub wanted: Stored<Certificate>,
    /// The certificate in the file, whoever put it there.
    pub held: Option<CertificateFacts>,
    /// Why what is held is not what should be: it is missing, expired, another one, or from another authority.
    pub defect: Option<String>,
    /// What is done about it.
    pub progress: Progress,
}

/// What is done to get or renew a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Nothing: there is one, and it is young enough.
    Rests,
    /// It was not looked at yet.
    Begins,
    /// The host name does not lead here yet; nobody else was asked for anything.
    AwaitsName {
        /// What it leads to, as the end of a sentence.
        found: String,
        /// The name servers that are asked for the host name's zone in place of the zone's own, which may be none; `None`
        /// when the zone's own are asked, or nothing is known of that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delegated_to: Option<Vec<String>>,
    },
    /// The authority is being asked.
    Orders,
    /// The last attempt failed.
    Failed {
        /// Why.
        reason: String,
        /// How many attempts failed in a row.
        failures: u32,
        /// When the next one is made, in seconds since 1970.
        next_attempt: u64,
    },
}
