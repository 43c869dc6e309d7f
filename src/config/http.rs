//! `[http]`: the listener, its deadlines and its bounds.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{ConfigError, demand};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Certificate chain and private key (PEM). Both or neither; with them the listener speaks TLS only.
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// Worker threads; 0 means one per core.
    pub workers: usize,
    /// Open connections over all workers.
    pub connections_max: usize,
    /// Seconds until the first byte of a new connection, the end of a request's head, the end of its body.
    pub first_byte_s: u64,
    pub head_s: u64,
    pub body_s: u64,
    /// Seconds a connection may idle between requests.
    pub keep_alive_s: u64,
    /// Seconds that requests in flight get when the node stops.
    pub shutdown_s: u64,
    /// Bytes of one event, and of one batch of events, after decompression.
    pub event_bytes_max: usize,
    pub batch_bytes_max: usize,
    /// Bytes of request bodies held at one time over all connections.
    pub in_flight_bytes_max: usize,
    /// Concurrent HTTP/2 streams per connection and bytes of one header list.
    pub h2_streams_max: u32,
    pub h2_header_list_bytes: u32,
    /// Live readers (web socket, SSE, NDJSON) over all streams.
    pub readers_max: usize,
}

impl Default for Http {
    fn default() -> Http {
        Http {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls_certificate: None,
            tls_key: None,
            workers: 0,
            connections_max: 10_000,
            first_byte_s: 10,
            head_s: 5,
            body_s: 30,
            keep_alive_s: 75,
            shutdown_s: 10,
            event_bytes_max: 1 << 20,
            batch_bytes_max: 64 << 20,
            in_flight_bytes_max: 256 << 20,
            h2_streams_max: 128,
            h2_header_list_bytes: 32 << 10,
            readers_max: 1_000,
        }
    }
}

impl Http {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let both = self.tls_certificate.is_some() == self.tls_key.is_some();
        demand(both, "http.tls_key", "give both tls_certificate and tls_key, or neither")?;
        let deadlines = [self.first_byte_s, self.head_s, self.body_s, self.keep_alive_s];
        demand(
            deadlines.iter().all(|s| (1..=3600).contains(s)),
            "http.*_s",
            "deadlines take 1 to 3600 seconds",
        )?;
        demand(
            (1..=64 << 20).contains(&self.event_bytes_max),
            "http.event_bytes_max",
            "takes 1 to 67108864",
        )?;
        demand(
            (self.event_bytes_max..=1 << 30).contains(&self.batch_bytes_max),
            "http.batch_bytes_max",
            "takes event_bytes_max to 1073741824",
        )?;
        demand(
            self.in_flight_bytes_max >= self.batch_bytes_max,
            "http.in_flight_bytes_max",
            "must be at least batch_bytes_max",
        )?;
        demand(self.connections_max > 0, "http.connections_max", "must be at least 1")?;
        demand((1..=10_000).contains(&self.h2_streams_max), "http.h2_streams_max", "takes 1 to 10000")
    }
}
