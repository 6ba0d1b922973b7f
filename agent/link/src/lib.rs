//! The agent's end of a connection: TLS, requests, flow control.
